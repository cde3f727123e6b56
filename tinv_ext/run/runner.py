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
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.fallbacks import Fallbacks, is_out_of_memory, retry_after_freeing
from tinv_ext.core.training.trainer import train
from tinv_ext.hosts.base import Host
from tinv_ext.run import run_folder, setup
from tinv_ext.run.events import Encoded, Event, Prepared, Report, RunControls
from tinv_ext.run.preflight import check, prepare_resume
from tinv_ext.run.provenance import folder_facts, state_facts
from tinv_ext.run.recorder import Recorder
from tinv_ext.run.reporter import RunReporter
from tinv_ext.run.slowdown import SlowdownWatch

log = logging.getLogger(__name__)
T = TypeVar("T")
_GLANCE = 0.1  # seconds between two looks at the wishes while paused
_LOOK = 5.0  # seconds between two looks at whether the trouble is over


class _StopRequested(Exception):
    """Somebody wants the run to stop before it has taken a step."""


def _no_listener(event: Event) -> None:
    """A report that nobody listens to."""


def run(
    config: TrainConfig, host: Host, report: Report = _no_listener, controls: RunControls | None = None
) -> run_folder.Status:
    """Train from the beginning to the file in the host's embeddings folder. `InputError` before anything is written."""
    prepared = check(config, host)
    folder = run_folder.create(prepared.config, folder_facts(prepared, host))
    return _execute(prepared, host, folder, report, controls or RunControls())


def resume(
    path: Path,
    host: Host,
    changes: Mapping[str, Any] | None = None,
    report: Report = _no_listener,
    controls: RunControls | None = None,
) -> run_folder.Status:
    """Go on with the run in the folder `path`, perhaps with other settings. A finished run is left as it is."""
    found = prepare_resume(path, host, changes)
    if isinstance(found, run_folder.Status):
        return found
    folder = run_folder.RunFolder(path)
    if found.config != folder.config():
        folder.write_config(found.config, folder.facts())  # the next time it goes on as it does now
    for place, stem in ((path, ""), (host.embeddings_folder, found.config.name)):
        sweep(place, stem)
    return _execute(found, host, folder, report, controls or RunControls())


def _execute(
    prepared: PreparedRun, host: Host, folder: run_folder.RunFolder, report: Report, controls: RunControls
) -> run_folder.Status:
    """Train until the plan is done or a stop is wished, letting go of the model whenever somebody else wants it."""
    first = prepared.initial.step
    reporter = RunReporter(folder, report, run_folder.Status("queued", first, total=prepared.plan.steps))
    report(Prepared(prepared, folder))
    with _telling_failure(reporter):
        reporter.update("preparing", first)
        try:
            dataset, recorder = _when_possible(reporter, controls, lambda: _set_up(prepared, host, reporter, controls))
        except _StopRequested:
            return reporter.update("stopped", first, reason="It was stopped before the first step.")
        stands = recorder.state.step if folder.state.is_file() else -1
        with run_folder.open_curve(folder, stands) as curve, recorder.keeping_vectors():
            begun: list[bool] = []
            while not (recorder.finished or controls.stop.is_set()):
                with suppress(_StopRequested):
                    _when_possible(
                        reporter, controls, lambda: _session(host, dataset, recorder, curve, controls, begun)
                    )
                    _rest(host, reporter, controls)
            reporter.update("stopping", recorder.state.step, reason=reporter.status.reason)
            return _when_possible(reporter, controls, recorder.end, stoppable=False)


def _session(
    host: Host, dataset: Dataset, recorder: Recorder, curve: run_folder.Curve, controls: RunControls, begun: list[bool]
) -> None:
    """Steps on the model, until there are no more or something else is wished."""
    recorder.make_good()
    with host.training(recorder.prepared.config.clip_skip) as model:
        if not begun:
            recorder.begin(model, curve)
            begun.append(True)
        recorder.reporter.update("training", recorder.state.step)
        with closing(train(recorder.state, recorder.prepared.plan, model, dataset, recorder.fallbacks)) as steps:
            for step in recorder.slowdown.timed(steps):
                recorder.record(step, model, curve)
                recorder.look_after(model, controls)
                if host.interrupted():
                    recorder.reporter.update("stopping", step.number, reason="It was interrupted in the WebUI.")
                    controls.stop.set()
                if controls.stop.is_set() or controls.pause.is_set() or host.wanted():
                    return


def _rest(host: Host, reporter: RunReporter, controls: RunControls) -> None:
    """Outside of training: let others at the model, and wait while the run is paused."""
    host.let_others_in()
    if controls.pause.is_set() and not controls.stop.is_set():
        _wait(reporter, controls, "")


def _when_possible(reporter: RunReporter, controls: RunControls, act: Callable[[], T], stoppable: bool = True) -> T:
    """What `act` gives. Where it cannot be done now, the run is paused until it can, or somebody resumes it.

    A stop that was wished before still waits for `act` where that is not `stoppable`; one wished meanwhile gives up.
    """
    while True:
        try:
            return act()
        except NotNowError as error:
            trouble = error
        controls.pause.set()
        if not stoppable:
            controls.stop.clear()
        _wait(reporter, controls, str(trouble), trouble.mended)
        if controls.stop.is_set():
            raise _StopRequested if stoppable else trouble


def _wait(
    reporter: RunReporter, controls: RunControls, reason: str, mended: Callable[[], bool] = lambda: False
) -> None:
    """Paused, the model and its memory with others, until somebody resumes or stops the run or the trouble is over."""
    before = reporter.status
    reporter.update("paused", before.steps, reason=reason)
    looked = time.monotonic()
    while controls.pause.is_set() and not controls.stop.wait(_GLANCE):
        if time.monotonic() - looked >= _LOOK:
            looked = time.monotonic()
            if mended():
                break
    controls.pause.clear()
    reporter.update(before.status, before.steps)


def _set_up(
    prepared: PreparedRun, host: Host, reporter: RunReporter, controls: RunControls
) -> tuple[Dataset, Recorder]:
    """Pictures encoded, examples and measure chosen, the state fresh or as the run stood."""
    config = prepared.config

    def encoded(done: int, total: int) -> None:
        reporter.report(Encoded(done, total))
        if controls.stop.is_set():
            raise _StopRequested

    def made(model: Model) -> tuple[Dataset, Recorder]:
        trained, measured = setup.examples(prepared, model, encoded, reporter.notify)
        trained_on = setup.dataset(prepared, trained)
        measure = setup.probe(measured, prepared, model) if config.evaluate_every else None
        facts = state_facts(prepared, host, model.device)
        state = setup.state(prepared, reporter, model, facts)
        fallbacks, slowdown = Fallbacks(reporter.notify), SlowdownWatch(reporter.notify, model.device.type)
        return trained_on, Recorder(prepared, host, reporter, state, measure, len(trained), fallbacks, slowdown, facts)

    with host.training(config.clip_skip) as model:
        return retry_after_freeing(model, lambda: made(model))


@contextmanager
def _telling_failure(reporter: RunReporter) -> Iterator[None]:
    """On any error the run's status says so before the error goes on."""
    try:
        yield
    except BaseException as error:
        reporter.update("failed", reporter.status.steps, reason=failure(error))
        raise


def failure(error: BaseException) -> str:
    """Why a run failed, as its status says it: the kind of trouble, then the sentence."""
    kinds = {NumericError: "numeric", MemoryShortError: "memory"}
    kind = next((said for known, said in kinds.items() if isinstance(error, known)), None)
    kind = "memory" if is_out_of_memory(error) else kind
    if kind or isinstance(error, TinvError):
        return f"{kind}: {error}" if kind else str(error)
    return f"{type(error).__name__}: {error}"
