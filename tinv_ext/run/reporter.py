"""How a run stands, told in one place: to its folder's status.json and log, and to whoever listens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tinv_ext.core.errors import TinvError
from tinv_ext.run.events import Noticed, Report
from tinv_ext.run.run_folder import RunFolder, Status

logger = logging.getLogger(__name__)


@dataclass
class RunReporter:
    """The run's status as it was last told. What cannot be written is still reported: no run ends for its log."""

    folder: RunFolder
    report: Report
    status: Status
    _failing: set[str] = field(default_factory=set)

    def update(self, status: str, steps: int, file: str | None = None, reason: str = "") -> Status:
        """The run is now at this."""
        now = Status(status, steps, file, reason, self.status.total)
        changed = (now.status, now.reason) != (self.status.status, self.status.reason)
        self.status = now
        self.save()
        if changed:
            self.log(f"{status} at step {steps}" + (f": {reason or file}" if reason or file else ""))
        self.report(now)
        return now

    def advance(self, step: int) -> None:
        """The run has taken this step: so much is known, though not yet told."""
        self.status = replace(self.status, steps=step)

    def save(self) -> None:
        """Write the status as it is known."""
        self._write("status.json", lambda: self.folder.write_status(self.status))

    def notify(self, text: str) -> None:
        """Something that the owner should know."""
        self.log(text)
        self.report(Noticed(self.status.steps, text))

    def warn_once(self, what: str, text: str) -> None:
        """A notice that something cannot be done, once until it is `unhindered`: a disk may stay as it is for long."""
        if what not in self._failing:
            self._failing.add(what)
            self.notify(text)

    def recovered(self, what: str) -> None:
        """It could be done."""
        self._failing.discard(what)

    def log(self, text: str) -> None:
        """A line for the log alone."""
        self._write("log.txt", lambda: self.folder.note(text))

    def _write(self, what: str, act: Callable[[], None]) -> None:
        try:
            act()
        except (OSError, TinvError) as error:
            if what not in self._failing:
                self._failing.add(what)
                logger.warning("%s of the run cannot be written: %s", what, error)
        else:
            self.recovered(what)
