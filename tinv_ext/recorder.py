"""What is written and reported beside the loop: the curve, evaluations, copies, previews, the state, the result."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import torch

from tinv_ext import __version__, card, runs
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import NumericError, TinvError
from tinv_ext.core.evaluation import Probe, evaluate
from tinv_ext.core.files import write_embedding
from tinv_ext.core.files.png import carries_embedding, save_png_with_embedding
from tinv_ext.core.model import Model
from tinv_ext.core.prepare import Preparation
from tinv_ext.core.previews import infotext, preview_requests
from tinv_ext.core.state import State, save_state
from tinv_ext.core.trainer import Step
from tinv_ext.events import Evaluated, Report, Wishes, Wrote
from tinv_ext.hosts.base import Host

_PRIVATE = ("images", "output", "weights", "source")  # what names places of this machine stays out of the embedding


@dataclass(frozen=True)
class Recorder:
    """Keeps the record of one run. `pictures` are those trained on; `probe` is None where nothing is evaluated."""

    preparation: Preparation
    host: Host
    folder: runs.RunFolder
    state: State
    probe: Probe | None
    pictures: int
    report: Report

    def begin(self, model: Model, curve: runs.Curve) -> None:
        """Measure and draw before the first step, to compare with."""
        self.folder.note(f"begins at step {self.state.step} of {self.preparation.plan.steps}")
        for notice in self.preparation.notices:
            self.folder.note(notice)
        if self.folder.state.is_file():
            return
        curve.add(self.state.step, 0, "", "", "", self._length(), self._evaluate(model) if self.probe else "")
        if self.preparation.config.preview_every:
            self._preview()

    def record(self, step: Step, model: Model, curve: runs.Curve) -> None:
        """A row of the curve, with the evaluation where it is due."""
        config = self.preparation.config
        length = self._length()
        if not math.isfinite(length):
            raise NumericError(
                f"Step {step.number} at the rate {step.rate:g} made vectors that are not numbers any more. The state "
                "that was saved before it, if there is one, was kept. Use a lower rate."
            )
        due = self.probe and (_due(step.number, config.evaluate_every) or self.finished)
        evaluation = self._evaluate(model) if due else ""
        epoch = (step.number - 1) * config.examples_per_step // self.pictures
        curve.add(step.number, epoch, step.loss, step.rate, step.gradient_norm, length, evaluation)
        self.report(step)

    def look_after(self, wishes: Wishes) -> None:
        """Copies, previews and the state, where they are due or asked for."""
        config, step = self.preparation.config, self.state.step
        if _due(step, config.save_every) or wishes.taken(wishes.snapshot):
            self._snapshot()
        asked = wishes.taken(wishes.preview)
        if asked or _due(step, config.preview_every) or (config.preview_every and self.finished):
            self._preview()
        if _due(step, config.checkpoint_every):
            self._keep_state()

    @property
    def finished(self) -> bool:
        """Whether the last step of the plan has been taken."""
        return self.state.step >= self.preparation.plan.steps

    def end(self) -> runs.Status:
        """Write the embedding where prompts find it, and the truth about the run."""
        if self.preparation.config.checkpoint_every:
            self._keep_state()
        file = self.host.embeddings_folder / f"{self.preparation.config.name}{self._suffix}"
        self._set_aside_old(file)
        self._write_embedding("embedding", file)
        self._put_card(file)
        status = runs.Status("finished" if self.finished else "stopped", self.state.step, str(file))
        self.folder.write_status(status)
        self.folder.note(f"{status.status} at step {status.steps}: {file}")
        return status

    @contextmanager
    def keeping_vectors(self) -> Iterator[None]:
        """On any error the last good vectors and the state are kept in the run folder before the error goes on."""
        try:
            yield
        except BaseException:
            self.folder.write_status(runs.Status("training", self.state.step))
            self._keep_what_is_good()
            raise

    def _keep_what_is_good(self) -> None:
        if not all(bool(torch.isfinite(vector).all()) for vector in self.state.vectors.values()):
            self.folder.note(f"the vectors of step {self.state.step} are not numbers any more and were not kept")
            return
        if self.preparation.config.checkpoint_every:
            self._keep_state()
        self._snapshot()

    def _evaluate(self, model: Model) -> float:
        assert self.probe is not None
        loss = evaluate(model, self.probe, {self.preparation.config.name: self.state.vectors})
        self.report(Evaluated(self.state.step, loss))
        return loss

    def _length(self) -> float:
        """Mean length of the vectors, of the encoder where it is largest."""
        return max(float(vector.detach().norm(dim=1).mean()) for vector in self.state.vectors.values())

    def _snapshot(self) -> None:
        path = self.folder.snapshot(self.preparation.config.name, self.state.step, self._suffix)
        self._write_embedding("snapshot", path)

    def _keep_state(self) -> None:
        save_state(self.state, self.folder.state, {"threads": torch.get_num_threads(), "torch": torch.__version__})
        self.report(Wrote("state", self.state.step, self.folder.state))

    def _preview(self) -> None:
        config, step = self.preparation.config, self.state.step
        words = {config.name: self.state.values()}
        facts = {"Model hash": self.host.facts.get("model_hash"), "Model": self.host.facts.get("model_name")}
        for index, request in enumerate(preview_requests(config)):
            image = self.host.draw(request, words)
            path = self.folder.preview(config.name, step, index)
            runs.write_picture(image, path, {"parameters": infotext(request, facts)})
            self.report(Wrote("preview", step, path))
            if config.save_image_embedding:
                place = self.folder.image_embedding(config.name, step, index)
                save_png_with_embedding(image, self._embedding(place.stem), place)

    def _embedding(self, name: str) -> Embedding:
        facts = self.host.facts
        return Embedding(
            name=name,
            vectors=self.state.values(),
            step=self.state.step,
            model_hash=facts.get("model_hash"),
            model_name=facts.get("model_name"),
            facts=run_facts(self.preparation, self.host),
        )

    @property
    def _suffix(self) -> str:
        """Of the file that most programs read: SDXL's two tensors go into .safetensors."""
        return ".pt" if len(self.state.vectors) == 1 else ".safetensors"

    def _write_embedding(self, kind: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_embedding(self._embedding(path.stem), path)
        self.report(Wrote(kind, self.state.step, path))

    def _put_card(self, file: Path) -> None:
        """The last preview as the embedding's card, if that is wished; what hinders it is noted and stops nothing."""
        config = self.preparation.config
        if config.card_picture == "none":
            return
        try:
            if self.folder.last_preview(config.name) is None:
                self._preview()
            own = card.own_cards(file)
            source = self.folder.last_preview(config.name)
            if own and config.card_picture == "new":
                self.folder.note(f"{own[0].name} is there already, so the card picture was left as it was")
            elif source:
                for old in own:
                    self._keep_aside(old)
                    old.unlink()
                self.folder.note(f"the card picture is {card.write_card(source, file)}")
        except (TinvError, OSError) as error:
            self.folder.note(f"no card picture was made: {error}")

    def _keep_aside(self, old: Path) -> None:
        place = self.folder.backup(old)
        shutil.copy2(old, place)
        self.folder.note(f"{old.name} was there before; it is kept as {place}")

    def _set_aside_old(self, file: Path) -> None:
        """Files of this name that a prompt would find are kept in the run folder before they are replaced."""
        there = sorted(file.parent.iterdir()) if file.parent.is_dir() else []
        for old in there:
            if old.stem.lower() != file.stem.lower() or old.suffix.lower() not in runs.EMBEDDING_SUFFIXES:
                continue
            if old.suffix.lower() not in runs.PLAIN_SUFFIXES and not carries_embedding(old):
                continue  # a picture of the person's own, such as the card's
            self._keep_aside(old)
            if old != file:
                old.unlink()


def run_facts(preparation: Preparation, host: Host) -> dict[str, Any]:
    """What is worth knowing of a run afterwards, without any path of this machine."""
    settings = {key: value for key, value in preparation.config.to_dict().items() if key not in _PRIVATE}
    settings["template"] = PureWindowsPath(preparation.config.template).name  # whose \\ and / both part folders
    said = {key: str(settings.pop(key)).strip() for key in ("author", "license")}
    contents = zip(preparation.survey.pictures, preparation.captions)
    seen = "\n".join(sorted(f"{picture.digest} {caption}" for picture, caption in contents))
    return {
        "made_by": f"tinv_ext {__version__}",
        "model": {key: value for key, value in host.facts.items() if key not in _PRIVATE},
        "pictures": len(preparation.survey.pictures),
        "dataset": hashlib.sha256(seen.encode()).hexdigest(),
        "settings": settings,
        **{key: value for key, value in said.items() if value},
    }


def _due(number: int, every: int) -> bool:
    return every > 0 and number % every == 0
