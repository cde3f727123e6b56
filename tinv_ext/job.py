"""One run from its settings to its file. All wiring of engine, host and run folder is here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from tinv_ext import runs
from tinv_ext.core.captions import expand
from tinv_ext.core.dataset import Dataset, Example, opacity_weights
from tinv_ext.core.errors import FormatError, InputError, MemoryShortError, NotNowError, NumericError, TinvError
from tinv_ext.core.evaluation import Probe, evaluate, make_probe
from tinv_ext.core.files import sweep
from tinv_ext.core.initial import Beginning
from tinv_ext.core.latents import EncodeRules, LatentPicture, encode_pictures
from tinv_ext.core.model import Model
from tinv_ext.core.paths import path_given
from tinv_ext.core.prepare import Preparation, prepare
from tinv_ext.core.rescue import Rescue, encode_patiently, is_out_of_memory, patiently
from tinv_ext.core.settings import ABOUT, TrainConfig
from tinv_ext.core.state import State, load_state, new_state
from tinv_ext.core.trainer import train
from tinv_ext.core.trial import try_out
from tinv_ext.events import Encoded, Event, Prepared, Report, Wishes
from tinv_ext.facts import changed, folder_facts, order_facts, state_facts
from tinv_ext.hosts.base import Host
from tinv_ext.pace import Pace
from tinv_ext.recorder import Recorder
from tinv_ext.standing import Standing

log = logging.getLogger(__name__)
T = TypeVar("T")
MEASURED = 8  # training pictures in the evaluation, where none are kept aside
_BEGIN_ANEW = "Begin a new one, with weights set to the last copy in its folder embeddings if there is one."
_GLANCE = 0.1  # seconds between two looks at the wishes while paused
_LOOK = 5.0  # seconds between two looks at whether the trouble is over


class _StopWished(Exception):
    """Somebody wants the run to stop before it has taken a step."""


def _nobody(event: Event) -> None:
    """A report that nobody listens to."""


def configure(values: Mapping[str, Any], host: Host) -> TrainConfig:
    """Settings from values by name.

    `InputError` has the problems of the values and of all that they name: folder, template, captions, word.
    """
    config, problems = TrainConfig.read(values)
    if problems:
        try:
            check(config, host)
        except InputError as error:
            told = {name for name in values if any(f"({name})" in problem for problem in problems)}
            problems += [more for more in error.problems if not any(f"({name})" in more for name in told)]
        raise InputError(problems)
    return config


def check(config: TrainConfig, host: Host) -> Preparation:
    """Everything that can be said before a run; `InputError` with all problems. Writes nothing.

    A size of 0 becomes the one that the model was made for, a clip skip of 0 the one that is set.
    """
    config = filled_in(config, host)
    problems = _sampling_problems(config, host)
    folder = host.embeddings_folder
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    files = [name for name in there if name.lower().endswith(runs.PLAIN_SUFFIXES)]
    try:
        preparation = prepare(config, host.lexicon, host.known_words(), files=files)
    except InputError as error:
        raise InputError([*error.problems, *problems]) from error
    if problems:
        raise InputError(problems)
    return replace(preparation, notices=(*host.circumstances, *preparation.notices))


def _sampling_problems(config: TrainConfig, host: Host) -> list[str]:
    if not config.preview_every:
        return []
    return [
        f'There is no {ABOUT[name].label.lower()} "{chosen}" ({name}) here. Choose one of {", ".join(known) or "none"}.'
        for name, chosen, known in (
            ("preview_sampler", config.preview_sampler, host.samplers),
            ("preview_scheduler", config.preview_scheduler, ["", *host.schedulers]),
        )
        if chosen not in known
    ]


def examine(config: TrainConfig, host: Host) -> Preparation:
    """As `check`, and one step tried out on the loaded model with the first picture, and undone. Writes nothing."""
    preparation = check(config, host)
    few = replace(
        preparation,
        config=preparation.config.but(cache_latents=False),
        survey=replace(preparation.survey, pictures=preparation.survey.pictures[:1]),
        captions=preparation.captions[:1],
    )
    with host.training(preparation.config.clip_skip) as model:
        trained, measured = _examples(few, model, lambda done, total: None, log.warning)
        dataset = _dataset(few, trained or measured)
        beginning = preparation.beginning
        state = new_state(beginning.vectors, preparation.config.seed, model.device, beginning.step)
        found = try_out(state, preparation.plan, model, dataset)
    said = found.said(preparation.plan.steps - beginning.step)
    return replace(preparation, notices=(*preparation.notices, *said))


def _dataset(preparation: Preparation, examples: list[Example]) -> Dataset:
    config = preparation.config
    return Dataset(
        examples, preparation.lines, preparation.rules, preparation.reader, config.latent_sampling, config.seed
    )


def filled_in(config: TrainConfig, host: Host) -> TrainConfig:
    """The settings with the host's own in the place of each 0 that means them."""
    size = host.native_size
    return config.but(
        width=config.width or size, height=config.height or size, clip_skip=config.clip_skip or host.clip_skip
    )


def run(config: TrainConfig, host: Host, report: Report = _nobody, wishes: Wishes | None = None) -> runs.Status:
    """Train from the beginning to the file in the host's embeddings folder. `InputError` before anything is written."""
    preparation = check(config, host)
    folder = runs.create(preparation.config, folder_facts(preparation, host))
    return _carry_out(preparation, host, folder, report, wishes or Wishes())


def resume(
    path: Path,
    host: Host,
    changes: Mapping[str, Any] | None = None,
    report: Report = _nobody,
    wishes: Wishes | None = None,
) -> runs.Status:
    """Go on with the run in the folder `path`, perhaps with other settings. A finished run is left as it is."""
    found = resumption(path, host, changes)
    if isinstance(found, runs.Status):
        return found
    folder = runs.RunFolder(path)
    if found.config != folder.config():
        folder.write_config(found.config, folder.facts())  # the next time it goes on as it does now
    for place, stem in ((path, ""), (host.embeddings_folder, found.config.name)):
        sweep(place, stem)
    return _carry_out(found, host, folder, report, wishes or Wishes())


def resumption(path: Path, host: Host, changes: Mapping[str, Any] | None = None) -> Preparation | runs.Status:
    """What going on with a run would do, or its status where nothing is left to do. `InputError` with all problems."""
    folder = runs.RunFolder(path)
    before = folder.config()
    config = filled_in(TrainConfig.from_dict({**before.to_dict(), **(changes or {})}), host)
    if config.name != before.name:
        raise InputError(
            f'The run teaches "{before.name}" and cannot go on as "{config.name}". Begin a new run of that name, with '
            "weights set to what this one made."
        )
    status = folder.last_status()
    finished = status.status == "finished"
    if finished and (not changes or status.steps >= config.steps):
        return status
    if folder.begins_again:
        return check(config, host)
    state = _kept_state(folder)
    preparation = prepare(config, host.lexicon, host.known_words(), Beginning(state.values(), state.step))
    return status if finished and preparation.plan.steps <= state.step else preparation


def _kept_state(folder: runs.RunFolder) -> State:
    if not folder.state.is_file():
        raise InputError(
            f'The run in "{folder.path}" cannot go on: it kept no state (checkpoint_every was 0, or it ended too '
            f"early). {_BEGIN_ANEW}"
        )
    try:
        return load_state(folder.state, torch.device("cpu"))[0]
    except FormatError as error:
        raise InputError(f"The run cannot go on: {error} {_BEGIN_ANEW}") from error


def evaluate_text(config: TrainConfig, host: Host, text: str) -> float:
    """The evaluation loss that `text` reaches in place of the word, on the very draws that measure a run of `config`.

    It tells how good a run could get where words can describe the pictures. Writes nothing but the latent cache.
    """
    preparation = check(config, host)
    named = replace(preparation, rules=replace(preparation.rules, name=text))
    with host.training(preparation.config.clip_skip) as model:
        _, measured = _examples(preparation, model, lambda done, total: None, log.warning)
        return evaluate(model, _probe(measured, named, model), {})


def _carry_out(
    preparation: Preparation, host: Host, folder: runs.RunFolder, report: Report, wishes: Wishes
) -> runs.Status:
    """Train until the plan is done or a stop is wished, letting go of the model whenever somebody else wants it."""
    first = preparation.beginning.step
    standing = Standing(folder, report, runs.Status("queued", first, total=preparation.plan.steps))
    report(Prepared(preparation, folder))
    with _telling_failure(standing):
        standing.tell("preparing", first)
        try:
            dataset, recorder = _patiently(standing, wishes, lambda: _set_up(preparation, host, standing, wishes))
        except _StopWished:
            return standing.tell("stopped", first, reason="It was stopped before the first step.")
        stands = recorder.state.step if folder.state.is_file() else -1
        with runs.open_curve(folder, stands) as curve, recorder.keeping_vectors():
            begun: list[bool] = []
            while not (recorder.finished or wishes.stop.is_set()):
                with suppress(_StopWished):
                    _patiently(standing, wishes, lambda: _session(host, dataset, recorder, curve, wishes, begun))
                    _rest(host, standing, wishes)
            standing.tell("stopping", recorder.state.step, reason=standing.status.reason)
            return _patiently(standing, wishes, recorder.end, stoppable=False)


def _session(
    host: Host, dataset: Dataset, recorder: Recorder, curve: runs.Curve, wishes: Wishes, begun: list[bool]
) -> None:
    """Steps on the model, until there are no more or something else is wished."""
    recorder.make_good()
    with host.training(recorder.preparation.config.clip_skip) as model:
        if not begun:
            recorder.begin(model, curve)
            begun.append(True)
        recorder.standing.tell("training", recorder.state.step)
        with closing(train(recorder.state, recorder.preparation.plan, model, dataset, recorder.rescue)) as steps:
            for step in recorder.pace.timed(steps):
                recorder.record(step, model, curve)
                recorder.look_after(model, wishes)
                if host.interrupted():
                    recorder.standing.tell("stopping", step.number, reason="It was interrupted in the WebUI.")
                    wishes.stop.set()
                if wishes.stop.is_set() or wishes.pause.is_set() or host.wanted():
                    return


def _rest(host: Host, standing: Standing, wishes: Wishes) -> None:
    """Outside of training: let others at the model, and wait while the run is paused."""
    host.give_way()
    if wishes.pause.is_set() and not wishes.stop.is_set():
        _wait(standing, wishes, "")


def _patiently(standing: Standing, wishes: Wishes, act: Callable[[], T], stoppable: bool = True) -> T:
    """What `act` gives. Where it cannot be done now, the run is paused until it can, or somebody resumes it.

    A stop that was wished before still waits for `act` where that is not `stoppable`; one wished meanwhile gives up.
    """
    while True:
        try:
            return act()
        except NotNowError as error:
            trouble = error
        wishes.pause.set()
        if not stoppable:
            wishes.stop.clear()
        _wait(standing, wishes, str(trouble), trouble.mended)
        if wishes.stop.is_set():
            raise _StopWished if stoppable else trouble


def _wait(standing: Standing, wishes: Wishes, reason: str, mended: Callable[[], bool] = lambda: False) -> None:
    """Paused, the model and its memory with others, until somebody resumes or stops the run or the trouble is over."""
    before = standing.status
    standing.tell("paused", before.steps, reason=reason)
    looked = time.monotonic()
    while wishes.pause.is_set() and not wishes.stop.wait(_GLANCE):
        if time.monotonic() - looked >= _LOOK:
            looked = time.monotonic()
            if mended():
                break
    wishes.pause.clear()
    standing.tell(before.status, before.steps)


def _set_up(preparation: Preparation, host: Host, standing: Standing, wishes: Wishes) -> tuple[Dataset, Recorder]:
    """Pictures encoded, examples and measure chosen, the state fresh or as the run stood."""
    config = preparation.config

    def encoded(done: int, total: int) -> None:
        standing.report(Encoded(done, total))
        if wishes.stop.is_set():
            raise _StopWished

    def made(model: Model) -> tuple[Dataset, Recorder]:
        trained, measured = _examples(preparation, model, encoded, standing.notice)
        dataset = _dataset(preparation, trained)
        probe = _probe(measured, preparation, model) if config.evaluate_every else None
        facts = state_facts(preparation, host, model.device)
        state = _state(preparation, standing, model, facts)
        rescue, pace = Rescue(standing.notice), Pace(standing.notice, model.device.type)
        return dataset, Recorder(preparation, host, standing, state, probe, len(trained), rescue, pace, facts)

    with host.training(config.clip_skip) as model:
        return patiently(model, lambda: made(model))


def _state(preparation: Preparation, standing: Standing, model: Model, facts: Mapping[str, Any]) -> State:
    if standing.folder.state.is_file():
        state, before = load_state(standing.folder.state, model.device)
        changes = changed(before, facts)
        if changes:
            standing.notice(f"From step {state.step} the run is not the one it was: {'; '.join(changes)}.")
        if order_facts(before) != order_facts(facts):
            state.order = []  # its numbers mean other pictures now
        return state
    beginning = preparation.beginning
    return new_state(beginning.vectors, preparation.config.seed, model.device, beginning.step)


def _examples(
    preparation: Preparation, model: Model, encoded: Callable[[int, int], None], tell: Callable[[str], None]
) -> tuple[list[Example], list[Example]]:
    """The examples to train on and those to measure on, chosen by the seed."""
    config = preparation.config
    rules = EncodeRules(config.sizes, config.fit == "stretch", model.vae_digest)
    cache = path_given(config.output) / "latents" if config.cache_latents else None
    pictures = encode_pictures(
        preparation.survey.pictures,
        rules,
        lambda pixels: encode_patiently(model, pixels),
        cache,
        report=encoded,
        tell=tell,
    )
    examples = [_example(picture, text, config) for picture, text in zip(pictures, preparation.captions)]
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(config.seed)).tolist()
    aside = config.evaluation_pictures if config.evaluation_pictures < len(examples) else 0
    shuffled = [examples[index] for index in order]
    return shuffled[aside:], shuffled[: aside or MEASURED]


def _example(picture: LatentPicture, caption: str, config: TrainConfig) -> Example:
    weights = opacity_weights(picture.opacity) if config.use_alpha and picture.opacity is not None else None
    return Example(picture.picture.path.name, picture.latent, caption, picture.framing, weights)


def _probe(examples: list[Example], preparation: Preparation, model: Model) -> Probe:
    lines, rules, config = preparation.lines, preparation.rules, preparation.config
    prompts = [preparation.reader.read(expand(lines[0], example.caption, rules)) for example in examples]
    return make_probe(examples, prompts, model.noise, config.evaluation_draws, config.seed)


@contextmanager
def _telling_failure(standing: Standing) -> Iterator[None]:
    """On any error the run's status says so before the error goes on."""
    try:
        yield
    except BaseException as error:
        standing.tell("failed", standing.status.steps, reason=failure(error))
        raise


def failure(error: BaseException) -> str:
    """Why a run failed, as its status says it: the kind of trouble, then the sentence."""
    kinds = {NumericError: "numeric", MemoryShortError: "memory"}
    kind = next((said for known, said in kinds.items() if isinstance(error, known)), None)
    kind = "memory" if is_out_of_memory(error) else kind
    if kind or isinstance(error, TinvError):
        return f"{kind}: {error}" if kind else str(error)
    return f"{type(error).__name__}: {error}"
