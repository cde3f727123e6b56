"""What is written and reported beside the loop: the curve, evaluations, copies, previews, the state, the result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tinv_ext.core.atomic import atomic_copy, make_folder
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError, HostError, NotNowError, TinvError
from tinv_ext.core.formats import write_embedding
from tinv_ext.core.formats.image_read import carries_embedding
from tinv_ext.core.formats.image_write import save_png_with_embedding
from tinv_ext.core.generation import infotext, preview_requests
from tinv_ext.core.model import Model
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.suffixes import EMBEDDING_SUFFIXES, TENSOR_SUFFIXES
from tinv_ext.core.training.evaluation import EvalSet, evaluate
from tinv_ext.core.training.fallbacks import Fallbacks, free_memory, is_out_of_memory, retry_after_freeing
from tinv_ext.core.training.state import State, save_state
from tinv_ext.core.training.trainer import Step
from tinv_ext.hosts.base import Host
from tinv_ext.run import run_folder, thumbnail
from tinv_ext.run.events import Evaluated, RunControls, Wrote
from tinv_ext.run.provenance import folder_facts, run_facts
from tinv_ext.run.reporter import RunReporter
from tinv_ext.run.slowdown import SlowdownWatch

PREVIEW_FAILURES = 3  # in a row, after which none is tried unless asked for


@dataclass
class Recorder:
    """Keeps the record of one run. `pictures` are those trained on; `probe` is None where nothing is evaluated."""

    prepared: PreparedRun
    host: Host
    reporter: RunReporter
    state: State
    probe: EvalSet | None
    pictures: int
    fallbacks: Fallbacks
    slowdown: SlowdownWatch
    facts: Mapping[str, Any]  # kept beside the state, to be compared when the run goes on
    _owed: list[Callable[[], None]] = field(default_factory=list)
    _kept_at: float = field(default_factory=time.monotonic)
    _failed_previews: int = 0
    _evaluated: float = math.inf  # the last evaluation loss
    _copies: list[tuple[float, int]] = field(default_factory=list)  # evaluation loss and step of each

    @property
    def folder(self) -> run_folder.RunFolder:
        """Of the run."""
        return self.reporter.folder

    def begin(self, model: Model, curve: run_folder.Curve) -> None:
        """Measure and draw before the first step, to compare with."""
        for notice in self.prepared.notices:
            self.reporter.log(notice)
        if self.folder.state.is_file():
            self._copies = self._copies_of_before()
            return
        evaluation = self._evaluate(model) if self.probe else None
        length, distance = retry_after_freeing(model, lambda: self.state.lengths().tolist())
        self._row(curve, self.state.step, 0, "", "", "", length, distance, _shown(evaluation))
        if self.prepared.config.preview_every:
            self._preview(model)

    def _copies_of_before(self) -> list[tuple[float, int]]:
        """What a run that goes on has saved already, with the evaluation loss known by then."""
        found, evaluated = [], math.inf
        for row in run_folder.read_curve(self.folder):
            step = int(row["step"])
            with suppress(ValueError):  # not evaluated at this step
                evaluated = float(row.get("evaluation") or "")
            if self.folder.snapshot(self.prepared.config.name, step, self._suffix).is_file():
                found.append((evaluated, step))
        return found

    def record(self, step: Step, model: Model, curve: run_folder.Curve) -> None:
        """A row of the curve, with the evaluation where it is due."""
        config = self.prepared.config
        self.reporter.advance(step.number)
        due = self.probe and (_due(step.number, config.evaluate_every) or self.finished)
        evaluation = self._evaluate(model) if due else None
        epoch = (step.number - 1) * config.examples_per_step // self.pictures
        numbers = (step.loss, step.rate, step.gradient_norm, step.vector_norm, step.distance)
        self._row(curve, step.number, epoch, *numbers, _shown(evaluation))
        self.reporter.report(step)

    def look_after(self, model: Model, controls: RunControls) -> None:
        """Copies, previews and the state, where they are due or asked for. NotNowError if the disk is full."""
        config, step = self.prepared.config, self.state.step
        if _due(step, config.save_every) or controls.taken(controls.snapshot):
            self._owed.append(self._snapshot)
        waited = config.save_state_seconds and time.monotonic() - self._kept_at >= config.save_state_seconds
        if config.save_state_every and (_due(step, config.save_state_every) or waited):
            self._owed.append(self._keep_state)
        self.make_good()
        asked = controls.taken(controls.preview)
        if asked or _due(step, config.preview_every) or (config.preview_every and self.finished):
            self._preview(model, asked)

    def make_good(self) -> None:
        """Write what is owed, after a full disk had no room for it, too. Other hindrances are told; the run goes on."""
        while self._owed:
            self._isolated(self._owed[0])
            del self._owed[0]

    def _isolated(self, keep: Callable[[], None]) -> None:
        what = "state" if keep == self._keep_state else "copy"
        try:
            if not self.folder.is_there:
                self._make_folder_again()
            retry_after_freeing(None, keep)  # a handful of numbers: there is room for them the second time
        except NotNowError:
            raise
        except (HostError, FormatError, OSError) as error:
            said = f"The run goes on, but its {what} of step {self.state.step} is not kept. {error}"
            self.reporter.warn_once(what, said)
        else:
            self.reporter.recovered(what)

    def _make_folder_again(self) -> None:
        self.folder.write_config(self.prepared.config, folder_facts(self.prepared, self.host))
        self.reporter.notify(
            f"The run's folder was deleted while it went on. It is made again; what it held before step "
            f"{self.state.step} is gone."
        )

    @property
    def finished(self) -> bool:
        """Whether the last step of the plan has been taken."""
        return self.state.step >= self.prepared.plan.steps

    def end(self) -> run_folder.Status:
        """Write the embedding where prompts find it, have it known there, and only then say so.

        NotNowError if the disk is full, HostError if the host does not take the file.
        """
        self.make_good()
        if self.prepared.config.save_state_every:
            self._isolated(self._keep_state)
        file = self.host.embeddings_folder / f"{self.prepared.config.name}{self._suffix}"
        replaced = self._kept_aside(file)
        self._write_embedding("embedding", file)
        for old in replaced:
            self._remove(old)
        self._put_thumbnail(file)
        self.host.refresh_embeddings()
        reason = "" if self.finished else self.reporter.status.reason
        return self.reporter.update("finished" if self.finished else "stopped", self.state.step, str(file), reason)

    @contextmanager
    def keeping_vectors(self) -> Iterator[None]:
        """On any error the last good vectors and the state are kept in the run folder before the error goes on."""
        try:
            yield
        except BaseException:
            self._keep_what_is_good()
            raise

    def _keep_what_is_good(self) -> None:
        if not all(bool(torch.isfinite(vector).all()) for vector in self.state.leaves()):
            self.reporter.log(f"the vectors of step {self.state.step} are not numbers any more and were not kept")
            return
        for keep in (self._keep_state, self._snapshot):
            if keep == self._keep_state and not self.prepared.config.save_state_every:
                continue
            try:
                keep()
            except Exception as error:  # noqa: BLE001 (the error that ends the run matters more)
                self.reporter.log(f"what was reached at step {self.state.step} could not be kept: {error}")

    def _evaluate(self, model: Model) -> float | None:
        """The evaluation loss, or None where memory does not suffice even for one picture at a time."""
        assert self.probe is not None
        for size in (8, 1):
            try:
                loss = evaluate(model, self.probe, self.state.vectors, size)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            else:
                self._evaluated = loss
                self.reporter.report(Evaluated(self.state.step, loss))
                return loss
            free_memory(model)
        self.reporter.notify(f"Memory ran out when step {self.state.step} was measured; the run goes on unmeasured.")
        return None

    def _row(self, curve: run_folder.Curve, *values: object) -> None:
        try:
            curve.add(*values)
        except (OSError, HostError) as error:
            said = (error.strerror if isinstance(error, OSError) else None) or error
            self.reporter.warn_once("curve", f"loss.csv cannot be written; its rows wait in memory. {said}")
        else:
            self.reporter.recovered("curve")

    def _snapshot(self) -> None:
        name, step = self.prepared.config.name, self.state.step
        self._write_embedding("snapshot", self.folder.snapshot(name, step, self._suffix))
        self._copies.append((self._evaluated, step))
        if self.prepared.config.keep_snapshots:
            best = min(self._copies)
            for copy in self._copies[: -self.prepared.config.keep_snapshots]:
                if copy != best or copy[0] == math.inf:
                    self.folder.snapshot(name, copy[1], self._suffix).unlink(missing_ok=True)
                    self._copies.remove(copy)

    def _keep_state(self) -> None:
        save_state(self.state, self.folder.state, self.facts)
        self._kept_at = time.monotonic()
        self.reporter.save()
        self.reporter.report(Wrote("state", self.state.step, self.folder.state))

    def _preview(self, model: Model, asked: bool = False) -> None:
        """Draw, unless that has failed too often. No error of a preview ends a run."""
        if self._failed_previews >= PREVIEW_FAILURES and not asked:
            return
        try:
            retry_after_freeing(model, self._draw_preview)
        except Exception as error:  # noqa: BLE001 (a sampler of another extension may raise anything)
            free_memory(model)
            self._failed_previews += 1
            off = "; no more are drawn unless asked for" if self._failed_previews == PREVIEW_FAILURES else ""
            said = str(error) if isinstance(error, TinvError) else f"{type(error).__name__}: {error}"
            self.reporter.notify(f"The preview at step {self.state.step} could not be drawn{off}. {said}")
        else:
            self._failed_previews = 0

    def _draw_preview(self) -> None:
        config, step = self.prepared.config, self.state.step
        words = {name: self.state.values(name) for name in self.state.vectors}
        facts = {"Model hash": self.host.facts.get("model_hash"), "Model": self.host.facts.get("model_name")}
        for index, request in enumerate(preview_requests(config)):
            image = self.host.generate(request, words)
            path = self.folder.preview(config.name, step, index)
            run_folder.write_picture(image, path, {"parameters": infotext(request, facts)})
            self.reporter.report(Wrote("preview", step, path))
            if config.save_image_embedding:
                place = self.folder.image_embedding(config.name, step, index)
                save_png_with_embedding(image, self._embedding(place.stem), place)

    def _embedding(self, name: str) -> Embedding:
        facts = self.host.facts
        return Embedding(
            name=name,
            vectors=self.state.values(self.prepared.config.name),
            step=self.state.step,
            model_hash=facts.get("model_hash"),
            model_name=facts.get("model_name"),
            facts=run_facts(self.prepared, self.host),
        )

    @property
    def _suffix(self) -> str:
        """Of the file that most programs read: SDXL's two tensors go into .safetensors."""
        return ".pt" if len(self.state.vectors[self.prepared.config.name]) == 1 else ".safetensors"

    def _write_embedding(self, kind: str, path: Path) -> None:
        make_folder(path.parent)
        retry_after_freeing(
            None, lambda: write_embedding(self._embedding(path.stem), path, validate_file=self.host.validate_file)
        )
        self.reporter.report(Wrote(kind, self.state.step, path))

    def _put_thumbnail(self, file: Path) -> None:
        """The last preview as the embedding's card, if that is wished; what hinders it is noted and stops nothing."""
        config = self.prepared.config
        if config.thumbnail == "none":
            return
        try:
            if self.folder.last_preview(config.name) is None:
                self._draw_preview()
            own = thumbnail.own_thumbnails(file)
            source = self.folder.last_preview(config.name)
            if own and config.thumbnail == "new":
                self.reporter.log(f"{own[0].name} is there already, so the card picture was left as it was")
            elif source:
                for old in own:
                    self._keep_aside(old)
                    old.unlink()
                self.reporter.log(f"the card picture is {thumbnail.write_thumbnail(source, file)}")
        except Exception as error:  # noqa: BLE001 (a sampler may raise anything, and the embedding is written)
            self.reporter.log(f"no card picture was made: {error}")

    def _keep_aside(self, old: Path) -> None:
        place = self.folder.backup(old)
        atomic_copy(old, place)
        self.reporter.log(f"{old.name} was there before; it is kept as {place}")

    def _remove(self, old: Path) -> None:
        try:
            old.unlink(missing_ok=True)
        except OSError as error:
            said = f"{old} is replaced but could not be removed ({error.strerror}): remove it, or prompts may find it."
            self.reporter.notify(said)

    def _kept_aside(self, file: Path) -> list[Path]:
        """Files of this name that a prompt would find are copied into the run folder.

        Those that writing `file` will not replace are returned.
        """
        others = []
        there = sorted(file.parent.iterdir()) if file.parent.is_dir() else []
        for old in there:
            if old.stem.lower() != file.stem.lower() or old.suffix.lower() not in EMBEDDING_SUFFIXES:
                continue
            if old.suffix.lower() not in TENSOR_SUFFIXES and not carries_embedding(old):
                continue  # a picture of the person's own, such as the card's
            self._keep_aside(old)
            if old != file and not (file.exists() and old.samefile(file)):  # other capitals, one file
                others.append(old)
        return others


def _shown(evaluation: float | None) -> float | str:
    return "" if evaluation is None else evaluation


def _due(number: int, every: int) -> bool:
    return every > 0 and number % every == 0
