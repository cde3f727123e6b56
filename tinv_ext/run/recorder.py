"""Everything that happens beside the training loop, as one table: what, when it is due, what a failure does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from tinv_ext.core.data.epochs import Epochs
from tinv_ext.core.messages import Message, message
from tinv_ext.core.model import Model
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.settings import config_file
from tinv_ext.core.training.fallbacks import Fallbacks
from tinv_ext.core.training.state import State
from tinv_ext.core.training.state_contents import facts_of
from tinv_ext.core.training.trainer import Step
from tinv_ext.hosts.base import Host
from tinv_ext.run.curve import Curve
from tinv_ext.run.embedding_file import EmbeddingWriter
from tinv_ext.run.evaluations import CurveRows, Evaluations
from tinv_ext.run.events import RunControls
from tinv_ext.run.final_embedding import FinalEmbedding, outcome
from tinv_ext.run.odd_images import OddImages
from tinv_ext.run.previews import Previews
from tinv_ext.run.provenance import folder_facts
from tinv_ext.run.reporter import RunReporter
from tinv_ext.run.run_lock import RunLock, TakenOverError
from tinv_ext.run.setup import Training
from tinv_ext.run.snapshots import Snapshots
from tinv_ext.run.starting_fallbacks import fallbacks_of
from tinv_ext.run.state_saver import StateSaver
from tinv_ext.run.status import Status
from tinv_ext.run.tasks import EndsTheRun, Moment, PausesIfFull, SwitchesOff, Task, WritesLater
from tinv_ext.run.word_curves import WordCurves


@dataclass
class Recorder:
    """Carries out the tasks of one run after each step, and writes what it leaves behind at the end.

    `recorded` is the last step that has its row in the curve.
    """

    state: State
    last_step: int
    reporter: RunReporter
    controls: RunControls
    tasks: tuple[Task, ...]
    evaluations: Evaluations
    state_saver: StateSaver
    final: FinalEmbedding
    fallbacks: Fallbacks
    recorded: int
    lock: RunLock
    _pending: list[Task] = field(default_factory=list)
    _moment: Moment = field(default_factory=lambda: Moment(0))
    _begun: bool = False

    @property
    def finished(self) -> bool:
        """Whether the last step of the plan has been taken, or the evaluations have ended the run before."""
        return self.state.step >= self.last_step or bool(self.state.progress.ended)

    def begin(self, model: Model) -> None:
        """Measure and generate before the first step, to compare with; once, and not in a run that resumes."""
        if self._begun:
            return
        self._begun = True
        if self.reporter.folder.has_state:
            self.final.snapshots.recall()
        else:
            self._carry_out(Moment(self.state.step), model)

    def record(self, step: Step, model: Model) -> None:
        """Carry out what is due after a step. NotNowError if the disk is full."""
        self.lock.refuse_if_lost()
        self.reporter.advance(step.number)
        self._carry_out(Moment(step.number, step, self.finished), model)

    def stop_here(self, model: Model) -> None:
        """Evaluate the last step of a run that is stopped, so that it can be told from the best."""
        moment = self._moment
        if self.evaluations.eval_set and self.final.config.result == "best" and moment.evaluation is None:
            self.evaluations.measure(moment, model)

    def _carry_out(self, moment: Moment, model: Model) -> None:
        self._moment, self._pending = moment, list(self.tasks)
        self.catch_up(model)

    def catch_up(self, model: Model | None) -> None:
        """Carry out what is left to do since a full disk had no room for it. NotNowError if it still has none."""
        while self._pending:
            task = self._pending[0]
            # taken just before its task: what is asked for while that is at work is done after the next step
            if self._moment.step and self.controls.take(task.name):
                self._moment.asked.add(task.name)
            if task.due(self._moment):
                self._try(task, model)
            del self._pending[0]

    def _try(self, task: Task, model: Model | None) -> None:
        try:
            task.run(self._moment, model)
        except Exception as error:
            if not task.on_failure.absorb(error, self._moment.number):
                raise
        else:
            task.on_failure.succeeded()
        if task.name == "curve":
            self.recorded = self._moment.number

    def finish(self) -> Status:
        """Write the embedding where prompts find it, have it known there, and only then say so.

        NotNowError if the disk is full, HostError if the host does not take the file.
        """
        self.lock.refuse_if_lost()
        self.catch_up(None)
        self._moment = Moment(self.state.step, over=True)
        for task in self.tasks:
            if task.at_end and task.due(self._moment):
                self._try(task, None)
        file, step = self.final.write(), self.state.step
        if self.finished:
            self.reporter.ends_here()
        reason = outcome(self.final, "" if self.finished else self.reporter.status.reason)
        file_step = self.final.steps[self.final.config.name]
        return self.reporter.update("finished" if self.finished else "stopped", step, str(file), reason, file_step)

    @contextmanager
    def saving_on_error(self) -> Iterator[None]:
        """On any error the last good vectors and the state are saved in the run folder before the error goes on."""
        try:
            yield
        except TakenOverError:
            raise
        except BaseException:
            self._save_what_is_good()
            raise

    def _take_back(self) -> None:
        """Undo a step that has no row in the curve yet, however far it came: resumed, the run takes it again.

        A step that failed is undone already; this is for what struck on the way from there to here.
        """
        before = self.fallbacks.before
        if before is not None and before.step == self.recorded:
            self.state.restore(before)
            self.reporter.advance(self.recorded)

    def _save_what_is_good(self) -> None:
        self._take_back()
        step = self.state.step
        if self.recorded < step:
            self.reporter.log("it ended before its first row was written, so resuming starts it from the beginning")
            return
        if not all(bool(torch.isfinite(vector).all()) for vector in self.state.leaves()):
            self.reporter.log(f"the vectors of step {step} are not finite and were not saved")
            return
        writes: list[Callable[[], None]] = [lambda: self.final.snapshots.write(step)]
        if self.state_saver.steps:
            writes.insert(0, self.state_saver.write)
        for write in writes:
            try:
                write()
            except Exception as error:  # noqa: BLE001 (the error that ends the run matters more)
                self.reporter.log(f"what was reached at step {step} could not be saved: {error}")


def make_recorder(
    prepared: PreparedRun,
    host: Host,
    reporter: RunReporter,
    controls: RunControls,
    training: Training,
    curve: Curve,
    lock: RunLock,
    word_curves: Mapping[str, Curve],
) -> Recorder:
    """The recorder of a run, with its table of tasks. Their order is that in which they are carried out."""
    config, folder, state, epochs = prepared.config, reporter.folder, training.state, training.dataset.epochs
    writer = EmbeddingWriter(prepared, host, state, training.prediction, reporter.report)
    fallbacks = _fallbacks(prepared, reporter, state)
    evaluations = Evaluations(state, training.eval_set, reporter, fallbacks, config.evaluate_every, prepared.plan)
    snapshots = Snapshots(config, folder, writer, evaluations, epochs)
    facts = {**training.facts, "config": config_file.to_file(config, folder_facts(prepared, host))}
    saver = StateSaver(state, facts, fallbacks, reporter, config.save_state_every, config.save_state_seconds)
    previews = Previews(config, prepared.shown, host, state, folder, writer, reporter.report)
    preview_failures, odd_images = SwitchesOff(reporter), OddImages(state, reporter, config.downweight_odd_images)

    def make_folder(moment: Moment, model: Model | None) -> None:
        folder.write_config(config, folder_facts(prepared, host))
        reporter.notify(_folder_deleted(moment.number))

    def report_step(moment: Moment, model: Model | None) -> None:
        if moment.step:
            reporter.report(moment.step)
            if moment.step.left_out:
                reporter.log(_left_out(moment.step))

    def evaluation_due(moment: Moment) -> bool:
        due = _every(moment, config.evaluate_every, epochs) or moment.last or moment.step is None
        return training.eval_set is not None and due

    def preview_due(moment: Moment) -> bool:
        by_epochs = config.preview_every_n_epochs  # instead of by steps, as with kohya
        now = _every(moment, 0 if by_epochs else config.preview_every, epochs, by_epochs)
        due = config.has_previews and (now or moment.last or (moment.step is None and config.preview_at_first))
        return "preview" in moment.asked or (due and not preview_failures.off)

    def snapshot_due(moment: Moment) -> bool:
        return "snapshot" in moment.asked or _every(moment, config.save_every, epochs, config.save_every_n_epochs)

    # a further thing to do beside the loop is a further row, and docs/reliability.md says the same in prose
    tasks = (
        Task("folder", lambda moment: not folder.is_there, make_folder, PausesIfFull(reporter, _FOLDER), at_end=True),
        Task("evaluation", evaluation_due, evaluations.measure, EndsTheRun()),
        *_curve_tasks(curve, word_curves, training, prepared, reporter),
        Task("events", lambda moment: True, report_step, EndsTheRun()),
        Task("images", odd_images.due, odd_images.write, PausesIfFull(reporter, _IMAGES), at_end=True),
        Task("snapshot", snapshot_due, snapshots.save, PausesIfFull(reporter, _SNAPSHOT)),
        Task("state", saver.due, saver.save, PausesIfFull(reporter, _STATE), at_end=True),
        Task("preview", preview_due, previews.make, preview_failures),
    )
    final = FinalEmbedding(config, host, reporter, writer, previews, snapshots)
    recorded = state.step if folder.has_state else state.step - 1
    return Recorder(
        state, prepared.plan.steps, reporter, controls, tasks, evaluations, saver, final, fallbacks, recorded, lock
    )


def _curve_tasks(
    curve: Curve, word_curves: Mapping[str, Curve], training: Training, prepared: PreparedRun, reporter: RunReporter
) -> Iterator[Task]:
    """The rows of loss.csv, and those of each of several words."""
    state, epochs = training.state, training.dataset.epochs
    rows = CurveRows(curve, state, epochs)
    yield Task("curve", lambda moment: True, rows.add, WritesLater(reporter, lambda: curve.waits))
    if word_curves:
        of_words = WordCurves(word_curves, state, epochs, prepared)
        yield Task("word curves", lambda moment: True, of_words.add, WritesLater(reporter, lambda: of_words.waits))


def _fallbacks(prepared: PreparedRun, reporter: RunReporter, state: State) -> Fallbacks:
    """Those that the run starts with, for the largest of its batches: datasets may have sizes of their own."""
    largest = prepared.config.but(batch_size=prepared.plan.batch_size)
    return fallbacks_of(largest, reporter.notify, facts_of(reporter.folder.state), state.leaves()[0].device.type)


def _folder_deleted(step: int) -> Message:
    return message(
        "run.folder_deleted",
        "The run's folder was deleted while it was running. It was created again; what it held before step {step} is "
        "gone.",
        step=step,
    )


def _left_out(step: Step) -> Message:
    return message(
        "run.left_out",
        "Step {step} did without {count:image|images}, whose loss or gradient was not finite.",
        step=step.number,
        count=step.left_out,
    )


_FOLDER = message("run.folder", "folder")
_SNAPSHOT = message("run.snapshot", "snapshot")
_STATE = message("run.state", "state")
_IMAGES = message("run.images", "images.csv")


def _every(moment: Moment, steps: int, epochs: Epochs, whole: int = 0) -> bool:
    """Whether a step was taken whose number is a multiple of `steps`, or that ends `whole` epochs; never for 0."""
    by_steps = steps > 0 and moment.number % steps == 0
    return moment.step is not None and (by_steps or epochs.ends(moment.number, whole))
