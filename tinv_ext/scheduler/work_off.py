"""Works off a list of runs on several devices, a process for each run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import Message, message
from tinv_ext.scheduler.devices import Slot
from tinv_ext.scheduler.entry import ELSEWHERE, FAILED, FINISHED, RESUME, START, STOPPED, WAITING, Entry, Todo, todo
from tinv_ext.scheduler.worker import Worker, begin

log = logging.getLogger(__name__)
_POLL = 0.2  # seconds between two looks at the processes
_LAST_LINES = 4096  # bytes of a log
_OUTCOMES: Mapping[int, str] = {0: FINISHED, 3: STOPPED}  # of the command line, see cli/failures.py


class Display(Protocol):
    """Who shows how far the runs are."""

    def begun(self, worker: Worker, todo: Todo) -> None:
        """A process has been started."""

    def progressed(self, workers: Sequence[Worker]) -> None:
        """These processes go on, and what they have told so far is known."""

    def ended(self, entry: Entry, outcome: str, reason: str) -> None:
        """An entry has its outcome."""


@dataclass
class Queue:
    """A list being worked off. `outcomes` by name, with the reason where one is no good."""

    waiting: list[Entry]
    free: list[Slot]
    display: Display
    retry_failed: bool = False
    working: list[Worker] = field(default_factory=list)
    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)

    def work_off(self, stop: threading.Event) -> None:
        """Until all is done. Once `stop` is set, nothing else is begun, and what goes on finishes its step and saves.

        KeyboardInterrupt (a second Ctrl-C) ends all within their step.
        """
        asked = False
        try:
            while self.working or (self.waiting and not stop.is_set()):
                if stop.is_set() and not asked:
                    asked = True
                    self._each(Worker.stop)
                elif not asked:
                    self._fill()
                for worker in self.working:
                    worker.known.read()
                self.display.progressed(self.working)
                time.sleep(_POLL)
                self._collect()
        except BaseException:  # nobody would look after them any more
            self._each(Worker.abort)
            self._each(lambda worker: worker.process.wait())
            self._collect()
            raise
        for entry in self.waiting:
            self._over(entry, WAITING)

    def _each(self, act: Callable[[Worker], object]) -> None:
        for worker in self.working:
            act(worker)

    def _fill(self) -> None:
        """Begin as many as there is room for."""
        while self.free and self.waiting:
            entry = self.waiting.pop(0)
            next_one = todo(entry, self.retry_failed)
            if next_one.act not in (START, RESUME):
                self._over(entry, next_one.act)
                continue
            try:
                worker = begin(entry, next_one, self.free[0])
            except InputError as error:  # another queue was quicker
                self._over(entry, ELSEWHERE, error.problems[0])
            except (OSError, TinvError) as error:
                self._over(entry, FAILED, _not_begun(error))
            else:
                del self.free[0]
                self.working.append(worker)
                self.display.begun(worker, next_one)

    def _collect(self) -> None:
        for worker in [one for one in self.working if one.code is not None]:
            self.working.remove(worker)
            worker.end()
            self.free.append(worker.slot)
            self._over(worker.entry, *outcome_of(worker))

    def _over(self, entry: Entry, outcome: str, reason: str = "") -> None:
        self.outcomes[entry.name] = (outcome, reason)
        self.display.ended(entry, outcome, reason)


def outcome_of(worker: Worker) -> tuple[str, str]:
    """How the process of a run has ended, and why."""
    code, known = worker.process.returncode, worker.known
    if code == 0 and known.status != "finished":
        return FAILED, message(
            "queue.no_run", "Its process ended without a finished run. See {log}.", log=worker.entry.log
        )
    if code in _OUTCOMES:
        return _OUTCOMES[code], ""
    return FAILED, _reason(worker)


def _reason(worker: Worker) -> str:
    code, log_file = worker.process.returncode, worker.entry.log
    if code < 0 or code > 4:
        return message(
            "queue.crashed",
            "Its process crashed ({code}). The last it said: {last} See {log}.",
            code=code,
            last=last_line(log_file),
            log=log_file,
        )
    return message("queue.failed", "{last} See {log}.", last=last_line(log_file), log=log_file)


def _not_begun(error: OSError | TinvError) -> Message:
    reason = error.problems[0] if isinstance(error, TinvError) else error.strerror or str(error)
    return message("queue.not_begun", "Its process could not be started: {reason}", reason=reason)


def last_line(path: Path) -> str:
    """The last line of a log that says something; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _LAST_LINES))
            lines = file.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error)
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
