"""The shape of everything that happens beside the training loop: when it is due, what it does, what a failure does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tinv_ext.core.errors import FormatError, HostError, NotNowError, TinvError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.model import Model
from tinv_ext.core.training.trainer import Step
from tinv_ext.run.reporter import RunReporter

PREVIEW_FAILURES = 3  # in a row, after which none is tried unless asked for


@dataclass
class Moment:
    """The run after a step, or before its first one, where `step` is None.

    `last`: no step follows. `asked`: what somebody has asked for, by its name in `RunControls`. `evaluation`: the loss,
    once it is measured, and `by_word` that of each of several words; `best` and `best_by_word` are the steps that are
    the best by then. `over`: the run ends here, finished or stopped, and is done with this step.
    """

    number: int
    step: Step | None = None
    last: bool = False
    asked: set[str] = field(default_factory=set)
    evaluation: float | None = None
    by_word: Mapping[str, float] = field(default_factory=dict)
    best: int | None = None
    best_by_word: Mapping[str, int] = field(default_factory=dict)
    over: bool = False


class OnFailure(Protocol):
    """What an exception does."""

    def absorb(self, error: Exception, number: int) -> bool:
        """Whether the run goes on without what failed at step `number`; if so, whoever should know has been told."""
        ...

    def succeeded(self) -> None:
        """It worked, perhaps after it had failed."""
        ...


@dataclass(frozen=True)
class Task:
    """One thing beside the loop. `run` gets the model where training has it, None outside of it.

    One `at_end` is also carried out when the run is over, where it is due then.
    """

    name: str
    due: Callable[[Moment], bool]
    run: Callable[[Moment, Model | None], None]
    on_failure: OnFailure
    at_end: bool = False


class EndsTheRun:
    """Nothing is caught: the run has failed, with the reason."""

    def absorb(self, error: Exception, number: int) -> bool:
        return False

    def succeeded(self) -> None:
        return None


@dataclass(frozen=True)
class PausesIfFull:
    """A full disk pauses the run until there is room. Any other refusal is told once, and the next one due is tried."""

    reporter: RunReporter
    what: Message

    def absorb(self, error: Exception, number: int) -> bool:
        if isinstance(error, NotNowError) or not isinstance(error, (HostError, FormatError, OSError)):
            return False
        self.reporter.warn_once(
            self.what.id,
            message(
                "run.not_saved",
                "The run goes on, but its {what} of step {step} was not saved. {reason}",
                what=self.what,
                step=number,
                reason=reason_of(error),
            ),
        )
        return True

    def succeeded(self) -> None:
        self.reporter.recovered(self.what.id)


@dataclass(frozen=True)
class WritesLater:
    """Any refusal is told once; what could not be written, as `waits()` says, is written with what comes next."""

    reporter: RunReporter
    waits: Callable[[], bool]

    def absorb(self, error: Exception, number: int) -> bool:
        if not isinstance(error, (HostError, OSError)) or not self.waits():
            return False
        self.reporter.warn_once(
            "curve",
            message(
                "run.curve_not_written",
                "loss.csv cannot be written; its rows are kept in memory. {reason}",
                reason=reason_of(error),
            ),
        )
        return True

    def succeeded(self) -> None:
        self.reporter.recovered("curve")


@dataclass
class SwitchesOff:
    """Whatever happens is told, and after three failures in a row nothing more is tried unless asked for."""

    reporter: RunReporter
    failures: int = 0

    @property
    def off(self) -> bool:
        """Whether it has failed too often."""
        return self.failures >= PREVIEW_FAILURES

    def absorb(self, error: Exception, number: int) -> bool:
        self.failures += 1
        if self.failures == PREVIEW_FAILURES:
            told = message(
                "run.previews_off",
                "The preview at step {step} could not be generated; no more are tried unless you ask for one. {reason}",
                step=number,
                reason=reason_of(error),
            )
        else:
            told = message(
                "run.no_preview",
                "The preview at step {step} could not be generated. {reason}",
                step=number,
                reason=reason_of(error),
            )
        self.reporter.notify(told)
        return True

    def succeeded(self) -> None:
        self.failures = 0


def reason_of(error: BaseException) -> str:
    """An exception as a person should read it: our own sentence, the system's words, or its type and text."""
    if isinstance(error, TinvError):
        return error.problems[0] if len(error.problems) == 1 else str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"
