"""One run from its settings to its file. All wiring of engine, host and run folder is here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from tinv_ext.core.atomic import sweep
from tinv_ext.core.data.dataset import Dataset
from tinv_ext.core.errors import MemoryShortError, NotNowError, NumericError, TinvError
from tinv_ext.core.model import Model
from tinv_ext.core.preflight.prepare import Preparation
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.fallbacks import Rescue, is_out_of_memory, patiently
from tinv_ext.core.training.trainer import train
from tinv_ext.hosts.base import Host
from tinv_ext.run import run_folder, setup
from tinv_ext.run.events import Encoded, Event, Prepared, Report, Wishes
from tinv_ext.run.preflight import check, resumption
from tinv_ext.run.provenance import folder_facts, state_facts
from tinv_ext.run.recorder import Recorder
from tinv_ext.run.reporter import Standing
from tinv_ext.run.slowdown import Pace

log = logging.getLogger(__name__)
T = TypeVar("T")
_GLANCE = 0.1  # seconds between two looks at the wishes while paused
_LOOK = 5.0  # seconds between two looks at whether the trouble is over


class _StopWished(Exception):
    """Somebody wants the run to stop before it has taken a step."""


def _nobody(event: Event) -> None:
    """A report that nobody listens to."""


def run(config: TrainConfig, host: Host, report: Report = _nobody, wishes: Wishes | None = None) -> run_folder.Status:
    """Train from the beginning to the file in the host's embeddings folder. `InputError` before anything is written."""
    preparation = check(config, host)
    folder = run_folder.create(preparation.config, folder_facts(preparation, host))
    return _carry_out(preparation, host, folder, report, wishes or Wishes())


def resume(
    path: Path,
    host: Host,
    changes: Mapping[str, Any] | None = None,
    report: Report = _nobody,
    wishes: Wishes | None = None,
) -> run_folder.Status:
    """Go on with the run in the folder `path`, perhaps with other settings. A finished run is left as it is."""
    found = resumption(path, host, changes)
    if isinstance(found, run_folder.Status):
        return found
    folder = run_folder.RunFolder(path)
    if found.config != folder.config():
        folder.write_config(found.config, folder.facts())  # the next time it goes on as it does now
    for place, stem in ((path, ""), (host.embeddings_folder, found.config.name)):
        sweep(place, stem)
    return _carry_out(found, host, folder, report, wishes or Wishes())


def _carry_out(
    preparation: Preparation, host: Host, folder: run_folder.RunFolder, report: Report, wishes: Wishes
) -> run_folder.Status:
    """Train until the plan is done or a stop is wished, letting go of the model whenever somebody else wants it."""
    first = preparation.beginning.step
    standing = Standing(folder, report, run_folder.Status("queued", first, total=preparation.plan.steps))
    report(Prepared(preparation, folder))
    with _telling_failure(standing):
        standing.tell("preparing", first)
        try:
            dataset, recorder = _patiently(standing, wishes, lambda: _set_up(preparation, host, standing, wishes))
        except _StopWished:
            return standing.tell("stopped", first, reason="It was stopped before the first step.")
        stands = recorder.state.step if folder.state.is_file() else -1
        with run_folder.open_curve(folder, stands) as curve, recorder.keeping_vectors():
            begun: list[bool] = []
            while not (recorder.finished or wishes.stop.is_set()):
                with suppress(_StopWished):
                    _patiently(standing, wishes, lambda: _session(host, dataset, recorder, curve, wishes, begun))
                    _rest(host, standing, wishes)
            standing.tell("stopping", recorder.state.step, reason=standing.status.reason)
            return _patiently(standing, wishes, recorder.end, stoppable=False)


def _session(
    host: Host, dataset: Dataset, recorder: Recorder, curve: run_folder.Curve, wishes: Wishes, begun: list[bool]
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
        trained, measured = setup.examples(preparation, model, encoded, standing.notice)
        trained_on = setup.dataset(preparation, trained)
        measure = setup.probe(measured, preparation, model) if config.evaluate_every else None
        facts = state_facts(preparation, host, model.device)
        state = setup.state(preparation, standing, model, facts)
        rescue, pace = Rescue(standing.notice), Pace(standing.notice, model.device.type)
        return trained_on, Recorder(preparation, host, standing, state, measure, len(trained), rescue, pace, facts)

    with host.training(config.clip_skip) as model:
        return patiently(model, lambda: made(model))


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
