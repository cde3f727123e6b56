"""One run from its settings to its file. All wiring of engine, host and run folder is here."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tinv_ext import __version__, runs
from tinv_ext.core.captions import expand
from tinv_ext.core.dataset import Dataset, Example, opacity_weights
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.evaluation import Probe, evaluate, make_probe
from tinv_ext.core.files import write_embedding
from tinv_ext.core.files.png import save_png_with_embedding
from tinv_ext.core.initial import Beginning
from tinv_ext.core.latents import EncodeRules, LatentPicture, encode_pictures
from tinv_ext.core.model import Model
from tinv_ext.core.prepare import Preparation, prepare
from tinv_ext.core.previews import infotext, preview_requests
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.state import State, load_state, new_state, save_state
from tinv_ext.core.trainer import Step, train
from tinv_ext.hosts.base import Host

MEASURED = 8  # training pictures in the evaluation, where none are kept aside
_PRIVATE = ("images", "output", "weights", "source")  # what names places of this machine stays out of the embedding


@dataclass(frozen=True)
class Prepared:
    """The run is about to begin: what was found out beforehand, and its folder."""

    preparation: Preparation
    folder: runs.RunFolder


@dataclass(frozen=True)
class Encoded:
    """Pictures encoded so far, of those that were not in the cache."""

    done: int
    total: int


@dataclass(frozen=True)
class Evaluated:
    """The evaluation loss at a step."""

    step: int
    loss: float


@dataclass(frozen=True)
class Wrote:
    """A file was written at a step: `kind` is "snapshot", "preview", "state" or "embedding"."""

    kind: str
    step: int
    path: Path


Event = Prepared | Encoded | Step | Evaluated | Wrote
Report = Callable[[Event], None]


@dataclass(frozen=True)
class Wishes:
    """What the world asks of a run; each is looked at after every step, and `snapshot` and `preview` then cleared."""

    stop: threading.Event = field(default_factory=threading.Event)
    snapshot: threading.Event = field(default_factory=threading.Event)
    preview: threading.Event = field(default_factory=threading.Event)


def check(config: TrainConfig, host: Host) -> Preparation:
    """Everything that can be said before a run; `InputError` with all problems. Writes nothing."""
    return prepare(config, host.lexicon, host.known_words())


def run(
    config: TrainConfig, host: Host, report: Report = lambda event: None, wishes: Wishes | None = None
) -> runs.Status:
    """Train from the beginning to the file in the host's embeddings folder. `InputError` before anything is written."""
    preparation = check(config, host)
    folder = runs.create(config, _run_facts(preparation, host))
    return _carry_out(preparation, host, folder, report, wishes or Wishes())


def resume(
    path: Path,
    host: Host,
    changes: Mapping[str, Any] | None = None,
    report: Report = lambda event: None,
    wishes: Wishes | None = None,
) -> runs.Status:
    """Go on with the run in the folder `path`, perhaps with other settings. A finished run is left as it is."""
    folder = runs.RunFolder(path)
    config = folder.config().but(**(changes or {}))
    try:
        state, _ = load_state(folder.state, torch.device("cpu"))
    except FormatError as error:
        raise InputError(
            f"The run cannot go on: {error} Begin a new one, from its last copy if there is one."
        ) from error
    if state.step >= config.steps or (folder.status().status == "finished" and not changes):
        return folder.status()
    preparation = prepare(config, host.lexicon, host.known_words(), Beginning(state.values(), state.step))
    return _carry_out(preparation, host, folder, report, wishes or Wishes())


def _carry_out(
    preparation: Preparation, host: Host, folder: runs.RunFolder, report: Report, wishes: Wishes
) -> runs.Status:
    config = preparation.config
    report(Prepared(preparation, folder))
    with _telling_failure(folder, preparation.beginning.step), host.training(config.clip_skip) as model:
        trained, measured = _examples(preparation, model, report)
        dataset = Dataset(
            trained, preparation.lines, preparation.rules, preparation.reader, config.latent_sampling, config.seed
        )
        state = _state(preparation, folder, model)
        probe = _probe(measured, preparation, model) if config.evaluate_every else None
        run_ = _Run(preparation, host, folder, model, state, report, probe)
        with runs.open_curve(folder, state.step) as curve, _keeping_vectors(run_):
            run_.begin(curve)
            with closing(train(state, preparation.plan, model, dataset)) as steps:
                for step in steps:
                    run_.record(step, curve, len(trained))
                    run_.look_after(step.number, wishes)
                    if wishes.stop.is_set():
                        break
            status = run_.end()
    host.refresh_embeddings()
    return status


@contextmanager
def _telling_failure(folder: runs.RunFolder, step: int) -> Iterator[None]:
    """On any error the run's status says so before the error goes on."""
    folder.write_status(runs.Status("training", step))
    try:
        yield
    except BaseException as error:
        steps = max(folder.status().steps, step)
        folder.write_status(runs.Status("failed", steps, None, str(error) or type(error).__name__))
        folder.note(f"failed at step {steps}: {error!r}")
        raise


@contextmanager
def _keeping_vectors(run_: _Run) -> Iterator[None]:
    """On any error the last good vectors are kept in the run folder before the error goes on."""
    try:
        yield
    except BaseException:
        run_.folder.write_status(runs.Status("training", run_.state.step))
        run_.keep()
        raise


def evaluate_text(config: TrainConfig, host: Host, text: str) -> float:
    """The evaluation loss that `text` reaches in place of the word, on the very draws that measure a run of `config`.

    It tells how good a run could get where words can describe the pictures. Writes nothing but the latent cache.
    """
    preparation = check(config, host)
    rules = replace(preparation.rules, name=text)
    with host.training(config.clip_skip) as model:
        _, measured = _examples(preparation, model, lambda event: None)
        return evaluate(model, _probe(measured, replace(preparation, rules=rules), model), {})


def _state(preparation: Preparation, folder: runs.RunFolder, model: Model) -> State:
    if folder.state.is_file():
        return load_state(folder.state, model.device)[0]
    beginning = preparation.beginning
    return new_state(beginning.vectors, preparation.config.seed, model.device, beginning.step)


def _examples(preparation: Preparation, model: Model, report: Report) -> tuple[list[Example], list[Example]]:
    """The examples to train on and those to measure on, chosen by the seed."""
    config = preparation.config
    rules = EncodeRules(config.width, config.height, config.fit == "stretch", model.vae_digest)
    cache = Path(config.output).expanduser() / "latents" if config.cache_latents else None
    pictures = encode_pictures(
        preparation.survey.pictures,
        rules,
        model.encode_images,
        cache,
        report=lambda done, total: report(Encoded(done, total)),
    )
    examples = [_example(picture, text, config) for picture, text in zip(pictures, preparation.captions)]
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(config.seed)).tolist()
    aside = config.evaluation_pictures if config.evaluation_pictures < len(examples) else 0
    shuffled = [examples[index] for index in order]
    return shuffled[aside:], shuffled[: aside or MEASURED]


def _example(picture: LatentPicture, caption: str, config: TrainConfig) -> Example:
    weights = opacity_weights(picture.opacity) if config.use_alpha and picture.opacity is not None else None
    return Example(picture.picture.path.name, picture.latent, caption, weights)


def _probe(examples: list[Example], preparation: Preparation, model: Model) -> Probe:
    lines, rules, config = preparation.lines, preparation.rules, preparation.config
    prompts = [preparation.reader.read(expand(lines[0], example.caption, rules)) for example in examples]
    return make_probe(examples, prompts, model.noise, config.evaluation_draws, config.seed)


@dataclass
class _Run:
    """A run in the middle of being carried out: what is written and reported after each step."""

    preparation: Preparation
    host: Host
    folder: runs.RunFolder
    model: Model
    state: State
    report: Report
    probe: Probe | None = None

    def begin(self, curve: runs.Curve) -> None:
        """Measure and draw before the first step, to compare with."""
        self.folder.note(f"begins at step {self.state.step} of {self.preparation.plan.steps}")
        for notice in self.preparation.notices:
            self.folder.note(notice)
        if self.folder.state.is_file():
            return
        evaluation = self._evaluate() if self.probe else ""
        curve.add(self.state.step, 0, "", "", "", self._length(), evaluation)
        if self.preparation.config.preview_every:
            self._preview()

    def record(self, step: Step, curve: runs.Curve, pictures: int) -> None:
        """A row of the curve, with the evaluation where it is due."""
        last = step.number == self.preparation.plan.steps
        due = self.probe and (last or _due(step.number, self.preparation.config.evaluate_every))
        evaluation = self._evaluate() if due else ""
        epoch = (step.number - 1) * self.preparation.config.examples_per_step // pictures
        curve.add(step.number, epoch, step.loss, step.rate, step.gradient_norm, self._length(), evaluation)
        self.report(step)

    def look_after(self, number: int, wishes: Wishes) -> None:
        """Copies, previews and the state, where they are due or asked for."""
        config, last = self.preparation.config, number == self.preparation.plan.steps
        if _due(number, config.save_every) or _asked(wishes.snapshot):
            self._snapshot()
        if _due(number, config.preview_every) or _asked(wishes.preview) or (last and config.preview_every):
            self._preview()
        if _due(number, config.checkpoint_every):
            self._keep_state()

    def end(self) -> runs.Status:
        """Write the embedding where prompts find it, and the truth about the run."""
        done = self.state.step >= self.preparation.plan.steps
        if self.preparation.config.checkpoint_every:
            self._keep_state()
        file = self.host.embeddings_folder / f"{self.preparation.config.name}.pt"
        self._set_aside_old(file)
        self._write_embedding("embedding", file)
        status = runs.Status("finished" if done else "stopped", self.state.step, str(file))
        self.folder.write_status(status)
        self.folder.note(f"{status.status} at step {status.steps}: {file}")
        return status

    def keep(self) -> None:
        """A copy of the vectors, and the state from which the run can go on."""
        self._snapshot()
        if self.preparation.config.checkpoint_every:
            self._keep_state()

    def _evaluate(self) -> float:
        assert self.probe is not None
        loss = evaluate(self.model, self.probe, {self.preparation.config.name: self.state.vectors})
        self.report(Evaluated(self.state.step, loss))
        return loss

    def _length(self) -> float:
        """Mean length of the vectors, of the encoder where it is largest."""
        return max(float(vector.detach().norm(dim=1).mean()) for vector in self.state.vectors.values())

    def _snapshot(self) -> None:
        self._write_embedding("snapshot", self.folder.snapshot(self.preparation.config.name, self.state.step))

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
            text = infotext(request, facts)
            runs.write_picture(image, path, {"parameters": text})
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
            facts=_facts(self.preparation, self.host),
        )

    def _write_embedding(self, kind: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_embedding(self._embedding(path.stem), path)
        self.report(Wrote(kind, self.state.step, path))

    def _set_aside_old(self, file: Path) -> None:
        """Files of this name that a prompt would find are kept in the run folder before they are replaced."""
        there = sorted(file.parent.iterdir()) if file.parent.is_dir() else []
        for old in there:
            if old.stem.lower() != file.stem.lower() or old.suffix.lower() not in runs.EMBEDDING_SUFFIXES:
                continue
            place = self.folder.backup(old)
            shutil.copy2(old, place)
            self.folder.note(f"{old.name} was there before; it is kept as {place}")
            if old != file:
                old.unlink()


def _due(number: int, every: int) -> bool:
    return every > 0 and number % every == 0


def _asked(wish: threading.Event) -> bool:
    asked = wish.is_set()
    wish.clear()
    return asked


def _run_facts(preparation: Preparation, host: Host) -> dict[str, Any]:
    """What config.json keeps: also the places, for going on with the run on this machine."""
    here = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    return {**_facts(preparation, host), "model": dict(host.facts), "here": here}


def _facts(preparation: Preparation, host: Host) -> dict[str, Any]:
    """What is worth knowing of a run afterwards, without any path of this machine."""
    settings = {k: v for k, v in preparation.config.to_dict().items() if k not in _PRIVATE}
    contents = zip(preparation.survey.pictures, preparation.captions)
    said = "\n".join(sorted(f"{picture.digest} {caption}" for picture, caption in contents))
    return {
        "made_by": f"tinv_ext {__version__}",
        "model": {key: value for key, value in host.facts.items() if key not in _PRIVATE},
        "pictures": len(preparation.survey.pictures),
        "dataset": hashlib.sha256(said.encode()).hexdigest(),
        "settings": settings,
    }
