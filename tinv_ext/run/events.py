"""The two directions of a run: the events that it reports, and the controls that others set."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.training.ranks import ALONE, Ranks
from tinv_ext.core.training.trainer import Step
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.status import Status


@dataclass(frozen=True)
class Prepared:
    """The run is about to begin: what was found out beforehand, and its folder."""

    prepared: PreparedRun
    folder: RunFolder


@dataclass(frozen=True)
class Generated:
    """Images of the class generated so far, of those that were lacking."""

    done: int
    total: int


@dataclass(frozen=True)
class Encoded:
    """Images encoded so far, of those that were not in the cache."""

    done: int
    total: int


@dataclass(frozen=True)
class Evaluated:
    """The evaluation loss at a step; finite. `best` is the step that is the best by now (`progress.py`)."""

    step: int
    loss: float
    best: int


@dataclass(frozen=True)
class Wrote:
    """A file was written at a step: `kind` is "snapshot", "preview", "state" or "embedding"."""

    kind: str
    step: int
    path: Path


@dataclass(frozen=True)
class Noticed:
    """Something that the owner of the run should know, as a sentence."""

    step: int
    text: str


Event = Prepared | Status | Generated | Encoded | Step | Evaluated | Wrote | Noticed
Report = Callable[[Event], None]


def both(first: Report, second: Report) -> Report:
    """A report to two listeners, one after the other."""

    def report(event: Event) -> None:
        first(event)
        second(event)

    return report


@dataclass(frozen=True)
class RunControls:
    """What others ask of a run, looked at after every step; and the processes that its steps are shared out to.

    `lent` is held by whoever uses the model of a run that is paused: until then it stays so.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    pause: threading.Event = field(default_factory=threading.Event)
    snapshot: threading.Event = field(default_factory=threading.Event)
    preview: threading.Event = field(default_factory=threading.Event)
    lent: threading.Lock = field(default_factory=threading.Lock)
    ranks: Ranks = field(default_factory=lambda: ALONE)

    def take(self, name: str) -> bool:
        """Whether what has this name, "snapshot" or "preview", was asked for; it is cleared. Nothing else ever is."""
        request = {"snapshot": self.snapshot, "preview": self.preview}.get(name)
        if request is None or not request.is_set():
            return False
        request.clear()
        return True
