"""One run from its settings to its file. All wiring of engine, host and run folder is here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tinv_ext.core.atomic import sweep
from tinv_ext.core.data.images import FITTED_BYTES
from tinv_ext.core.errors import MemoryShortError, NotNowError, NumericError, TinvError
from tinv_ext.core.messages import message
from tinv_ext.core.model import Model
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.fallbacks import first_sentence, is_out_of_memory, retry_after_freeing
from tinv_ext.core.training.trainer import train
from tinv_ext.hosts.base import Host
from tinv_ext.run.class_images import ClassImageGenerator
from tinv_ext.run.curve import open_curve
from tinv_ext.run.evaluations import terms_of
from tinv_ext.run.events import Encoded, Event, Prepared, Report, RunControls, both
from tinv_ext.run.preflight import NOTHING_KNOWN, image_scanner, prepare_run, refuse_outdated
from tinv_ext.run.provenance import evaluation_basis, folder_facts, state_facts
from tinv_ext.run.publish import publish
from tinv_ext.run.recorder import Recorder, make_recorder
from tinv_ext.run.reporter import RunReporter
from tinv_ext.run.resume import load_or_new_state, prepare_resume
from tinv_ext.run.run_folder import RunFolder, create_run
from tinv_ext.run.run_lock import RunLock, TakenOverError, locked
from tinv_ext.run.setup import (
    ENCODE,
    Training,
    balanced,
    basis_of,
    dataset_of,
    encode_share,
    encoded_examples,
    eval_set_of,
)
from tinv_ext.run.slowdown import SlowdownWatch
from tinv_ext.run.status import Status
from tinv_ext.run.tasks import reason_of
from tinv_ext.run.trackers import tracked
from tinv_ext.run.word_curves import open_word_curves

T = TypeVar("T")
_POLL = 0.1  # seconds between two looks at the controls while paused
_RECHECK = 5.0  # seconds between two looks at whether what paused the run is over


class _StopRequested(Exception):
    """Somebody wants the run to stop before it has taken a step."""


def _no_listener(event: Event) -> None:
    """A report that nobody listens to."""


def run(config: TrainConfig, host: Host, report: Report = _no_listener, controls: RunControls | None = None) -> Status:
    """Prepare and start. `InputError` before anything is written."""
    return start(prepare_run(config, host, room=FITTED_BYTES), host, report, controls)


def start(
    prepared: PreparedRun, host: Host, report: Report = _no_listener, controls: RunControls | None = None
) -> Status:
    """Train from the beginning to the file in the host's folder of embeddings.

    `InputError` before anything is written where what was prepared is no longer true.
    """
    refuse_outdated(prepared, host, resumes=False)
    folder = create_run(prepared.config, folder_facts(prepared, host))
    return _execute(prepared, host, folder, report, controls or RunControls())


def resume(
    path: Path,
    host: Host,
    changes: Mapping[str, Any] | None = None,
    report: Report = _no_listener,
    controls: RunControls | None = None,
) -> Status:
    """Prepare and resume the run in the folder `path`, perhaps with other settings. A finished run stays as it is."""
    prepared = prepare_resume(path, host, changes, room=FITTED_BYTES)
    if isinstance(prepared, Status):
        return prepared
    return resume_prepared(path, prepared, host, report, controls)


def resume_prepared(
    path: Path,
    prepared: PreparedRun,
    host: Host,
    report: Report = _no_listener,
    controls: RunControls | None = None,
) -> Status:
    """Resume the run in the folder `path` as it was prepared. `InputError` where that is no longer true."""
    refuse_outdated(prepared, host, resumes=True)
    return _execute(prepared, host, RunFolder(path), report, controls or RunControls(), resumes=True)


def _execute(
    prepared: PreparedRun,
    host: Host,
    folder: RunFolder,
    report: Report,
    controls: RunControls,
    resumes: bool = False,
) -> Status:
    """Hold the run's folder while it goes on. `InputError` if another process does."""
    first = prepared.start
    reporter = RunReporter(folder, report, Status("queued", first, total=prepared.plan.steps))
    with ExitStack() as stack:
        lock = stack.enter_context(locked(folder.path, reporter.notify))
        if resumes:
            prepared = _tidy(prepared, host, folder)
        report(Prepared(prepared, folder))
        track = stack.enter_context(tracked(prepared.config, folder, first, reporter.notify))
        reporter = replace(reporter, report=both(report, track))
        return _train_to_the_end(prepared, host, reporter, controls, lock)


def _tidy(prepared: PreparedRun, host: Host, folder: RunFolder) -> PreparedRun:
    """Keep the settings that a run resumes with, and sweep up what a killed writer left behind."""
    recovered = folder.recover_config()
    if recovered:
        prepared = replace(prepared, notices=(recovered, *prepared.notices))
    if prepared.config != folder.config():
        folder.write_config(prepared.config, folder.facts())  # the next time it resumes as it does now
    path = folder.path
    for left_in in (path, *(below for below in path.iterdir() if below.is_dir()), host.embeddings_folder):
        sweep(left_in)
    return prepared


def _train_to_the_end(
    prepared: PreparedRun, host: Host, reporter: RunReporter, controls: RunControls, lock: RunLock
) -> Status:
    """Train until the plan is done or a stop is requested, letting go of the model whenever somebody else wants it."""
    first, folder = prepared.start, reporter.folder
    with _reporting_failure(reporter):
        reporter.update("preparing", first)
        for notice in prepared.notices:
            reporter.log(notice)
        try:
            prepared = _with_class_images(prepared, host, reporter, controls)
            training = _when_possible(reporter, controls, lambda: _set_up(prepared, host, reporter, controls))
        except _StopRequested:
            return reporter.update("stopped", first, reason=_STOPPED_EARLY)
        if controls.stop.is_set() and training.state.step == first:
            return reporter.update("stopped", first, reason=_STOPPED_EARLY)
        stands = training.state.step if folder.has_state else -1
        with open_curve(folder.curve, stands) as curve, open_word_curves(prepared, folder, stands) as word_curves:
            recorder = make_recorder(prepared, host, reporter, controls, training, curve, lock, word_curves)
            with recorder.saving_on_error():
                _train(prepared, host, training, recorder, controls)
                reporter.update("stopping", recorder.state.step, reason=reporter.status.reason)
                status = _when_possible(reporter, controls, recorder.finish, stoppable=False)
        if recorder.finished:
            publish(prepared.config, reporter)
        return status


_ABORTED = message("run.aborted", "It was aborted. What was trained up to this step can be resumed.")
_STOPPED_EARLY = message("run.stopped_early", "It was stopped before the first step.")


def _with_class_images(prepared: PreparedRun, host: Host, reporter: RunReporter, controls: RunControls) -> PreparedRun:
    """The run with the images of the class that it lacked, generated by the model itself."""
    if not prepared.to_generate:
        return prepared
    work = ClassImageGenerator(prepared, host, reporter, controls)
    _in_sessions(work.session, lambda: work.finished, host, reporter, controls)
    if not work.finished:
        raise _StopRequested
    prepared = prepared.with_class_images(image_scanner(prepared.config, NOTHING_KNOWN, FITTED_BYTES))
    reporter.folder.write_config(prepared.config, folder_facts(prepared, host))
    return prepared


def _set_up(prepared: PreparedRun, host: Host, reporter: RunReporter, controls: RunControls) -> Training:
    """Images encoded, examples and evaluation chosen, the state new or as it was saved."""
    config = prepared.config

    def encoded(done: int, total: int) -> None:
        reporter.report(Encoded(done, total))
        if controls.stop.is_set():
            raise _StopRequested

    def made(model: Model) -> Training:
        share = partial(encode_share, prepared, model, controls.ranks.share, encoded, reporter.notify)
        controls.ranks.also(ENCODE, share, basis_of(prepared, model))
        trained, evaluated = encoded_examples(prepared, model, encoded, reporter.notify)
        facts = state_facts(prepared, host, model.device)
        where = (reporter.folder.state, prepared)
        eval_set = eval_set_of(prepared, evaluated, model.noise) if config.evaluate_every else None
        state = balanced(load_or_new_state(*where, facts, model.device, reporter.notify), prepared, model, trained)
        basis = evaluation_basis(prepared, facts) if eval_set else ""
        judged = {(one.subset.captions.name, one.name) for one in trained if not one.subset.is_reg}
        state.outliers = state.outliers.of(judged)
        state.progress = state.progress.on_terms(basis, terms_of(prepared.plan), state.step)
        return Training(dataset_of(prepared, trained), eval_set, state, facts, model.noise.prediction)

    with host.training(config.clip_skip) as model:
        return retry_after_freeing(model, lambda: made(model))


def _train(prepared: PreparedRun, host: Host, training: Training, recorder: Recorder, controls: RunControls) -> None:
    """Take the steps of the plan, in as many sessions on the model as pauses and others who want it make necessary."""
    state, reporter = training.state, recorder.reporter
    slowdown = SlowdownWatch(reporter.notify, str(training.facts["device"]))

    def session() -> None:
        with host.training(prepared.config.clip_skip) as model:
            recorder.fallbacks.begin(model)
            recorder.begin(model)
            recorder.catch_up(model)
            reporter.update("training", state.step)
            act = train(state, prepared.plan, model, training.dataset, recorder.fallbacks, controls.ranks)
            with closing(act) as steps:
                for step in slowdown.timed(steps):
                    recorder.record(step, model)
                    if host.interrupted():
                        reporter.update("stopping", step.number, reason=_INTERRUPTED)
                        controls.stop.set()
                    if controls.stop.is_set():
                        recorder.stop_here(model)
                    if controls.stop.is_set() or controls.pause.is_set() or host.wanted() or recorder.finished:
                        return

    _in_sessions(session, lambda: recorder.finished, host, reporter, controls)


_INTERRUPTED = message("run.interrupted", "It was interrupted in the WebUI.")


def _in_sessions(
    session: Callable[[], None],
    finished: Callable[[], bool],
    host: Host,
    reporter: RunReporter,
    controls: RunControls,
) -> None:
    """Work on the model, letting go of it between two sessions, until the work is `finished` or a stop requested."""
    while not (finished() or controls.stop.is_set()):
        with suppress(_StopRequested):
            _when_possible(reporter, controls, session)
            host.let_others_in()
            if controls.pause.is_set() and not controls.stop.is_set():
                _wait(reporter, controls, "")


def _when_possible(reporter: RunReporter, controls: RunControls, act: Callable[[], T], stoppable: bool = True) -> T:
    """What `act` returns. Where it cannot be done now, the run is paused until it can, or somebody resumes it.

    A stop that was requested before still waits for `act` where that is not `stoppable`; one requested meanwhile gives
    up.
    """
    while True:
        try:
            return act()
        except NotNowError as error:
            trouble = error
        controls.pause.set()
        if not stoppable:
            controls.stop.clear()
        _wait(reporter, controls, reason_of(trouble), trouble.mended)
        if controls.stop.is_set():
            raise _StopRequested if stoppable else trouble


def _wait(reporter: RunReporter, controls: RunControls, reason: str, over: Callable[[], bool] = lambda: False) -> None:
    """Paused, the model and its memory with others, until the run is resumed or stopped or the trouble is over."""
    before = reporter.status
    reporter.update("paused", before.steps, reason=reason)
    checked = time.monotonic()
    while controls.pause.is_set() and not controls.stop.wait(_POLL):
        if time.monotonic() - checked >= _RECHECK:
            checked = time.monotonic()
            if over():
                break
    with controls.lent:
        controls.pause.clear()
        reporter.update(before.status, before.steps)


@contextmanager
def _reporting_failure(reporter: RunReporter) -> Iterator[None]:
    """On any error the run's status says so before the error goes on."""
    try:
        yield
    except TakenOverError as error:
        reporter.report(Status("failed", reporter.status.steps, reason=failure(error), total=reporter.status.total))
        raise
    except KeyboardInterrupt:  # a second Ctrl-C
        reporter.update("stopped", reporter.status.steps, reason=_ABORTED)
        raise
    except BaseException as error:
        reporter.update("failed", reporter.status.steps, reason=failure(error))
        raise


def failure(error: BaseException) -> str:
    """Why a run failed, as its status says it: the kind of trouble, then the sentence."""
    if isinstance(error, MemoryShortError) or is_out_of_memory(error):
        return message("run.failed_memory", "memory: {reason}", reason=_text(error))
    if isinstance(error, NumericError):
        return message("run.failed_numeric", "numeric: {reason}", reason=_text(error))
    return reason_of(error) if isinstance(error, TinvError) else f"{type(error).__name__}: {error}"


def _text(error: BaseException) -> str:
    return reason_of(error) if isinstance(error, TinvError) else first_sentence(str(error))
