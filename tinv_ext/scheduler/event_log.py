"""What a run reports, as lines of JSON in a file: written by its process, read by whoever watches it from another."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinv_ext.core.printable import valid_json
from tinv_ext.core.training.trainer import Step
from tinv_ext.run.events import Encoded, Evaluated, Event, Generated, Noticed, Prepared, Wrote
from tinv_ext.run.smoothing import SmoothedLoss
from tinv_ext.run.status import Status

log = logging.getLogger(__name__)
EVERY = 0.5  # seconds between two lines that only say how far it is


class EventLog:
    """Appends to a file. Where that cannot be written, the run goes on, and a warning says so once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failing = False
        self._told = 0.0
        self._loss = SmoothedLoss()

    def add(self, event: str, **values: Any) -> None:
        """One line: what happened, when (seconds since 1970), and its values."""
        line = json.dumps(valid_json({"time": round(time.time(), 3), "event": event, **values}))
        try:
            with self._path.open("ab") as file:
                cut = "\n" if file.tell() and not _ends_line(self._path) else ""  # by a process that was killed
                file.write(f"{cut}{line}\n".encode())
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.warning("%s cannot be written: %s", self._path, error)
            self._failing = True

    def report(self, event: Event) -> None:
        """An event of `runner.run`; of steps only some, with the smoothed loss."""
        if isinstance(event, Prepared):
            self.add("prepared", run=event.folder.path.absolute(), steps=event.prepared.plan.steps)
        elif isinstance(event, Status):
            values = {"status": event.status, "step": event.steps, "steps": event.total, "reason": event.reason}
            self.add("status", **values, file=event.file)
        elif isinstance(event, Noticed):
            self.add("notice", step=event.step, text=event.text)
        elif isinstance(event, Evaluated):
            self.add("evaluated", step=event.step, evaluation=event.loss)
        elif isinstance(event, Wrote):
            self.add("wrote", step=event.step, kind=event.kind, file=event.path.absolute())
        elif isinstance(event, Step):
            loss = self._loss.add(event.loss)
            self._add_sometimes("step", step=event.number, loss=loss)
        elif isinstance(event, (Encoded, Generated)):
            self._add_sometimes(type(event).__name__.lower(), done=event.done, of=event.total)

    def _add_sometimes(self, event: str, **values: Any) -> None:
        now = time.monotonic()
        if now - self._told >= EVERY:
            self._told = now
            self.add(event, **values)


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"


class EventReader:
    """Reads what has been added to the file since it was last asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0

    def new(self) -> Iterator[dict[str, Any]]:
        """Each new whole line as a dict; what is none, as a crash may leave it, is left out."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._place)
                data = file.read()
        except FileNotFoundError:
            return
        whole, _, _ = data.rpartition(b"\n")
        self._place += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            try:
                event = json.loads(line)
            except ValueError:  # cut off where the process was killed; the next one has written on
                continue
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                yield event
