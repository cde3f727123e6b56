"""Reports how a run stands, in one place: to its folder's status.json and log, and to whoever listens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tinv_ext.core.errors import TinvError
from tinv_ext.run.events import Noticed, Report
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.status import Status

logger = logging.getLogger(__name__)


@dataclass
class RunReporter:
    """Holds the run's status. What cannot be written is still reported: no run ends for its log."""

    folder: RunFolder
    report: Report
    status: Status
    _failing: set[str] = field(default_factory=set)

    def update(
        self, status: str, steps: int, file: str | None = None, reason: str = "", file_step: int | None = None
    ) -> Status:
        """The run has this status now: written, logged where it is new, and reported."""
        now = Status(status, steps, file, reason, self.status.total, file_step)
        changed = (now.status, now.reason) != (self.status.status, self.status.reason)
        self.status = now
        self.save()
        if changed:
            said = " ".join(text for text in (reason, file) if text)
            self.log(f"{status} at step {steps}" + (f": {said}" if said else ""))
        self.report(now)
        return now

    def advance(self, step: int) -> None:
        """The run has taken this step; it is written with the next status."""
        self.status = replace(self.status, steps=step)

    def ends_here(self) -> None:
        """The run takes no step more: those that it has taken are all."""
        self.status = replace(self.status, total=self.status.steps)

    def save(self) -> None:
        """Write the status."""
        self._write("status.json", lambda: self.folder.write_status(self.status))

    def notify(self, text: str) -> None:
        """Something that the owner should know."""
        self.log(text)
        self.report(Noticed(self.status.steps, text))

    def warn_once(self, what: str, text: str) -> None:
        """A notice that something cannot be done, once until it has `recovered`: a disk may stay as it is for long."""
        if what not in self._failing:
            self._failing.add(what)
            self.notify(text)

    def recovered(self, what: str) -> None:
        """It could be done again."""
        self._failing.discard(what)

    def log(self, text: str) -> None:
        """Add a line to the log alone."""
        self._write("log.txt", lambda: self.folder.add_to_log(text))

    def _write(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, TinvError) as error:
            if what not in self._failing:
                self._failing.add(what)
                logger.warning("%s of the run cannot be written: %s", what, error)
        else:
            self.recovered(what)
