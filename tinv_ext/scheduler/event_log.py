"""What a run reports, as lines of JSON in a file: written by its process, read by whoever watches it from another."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tinv_ext.core.messages import put_together, taken_apart
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.printable import valid_json
from tinv_ext.core.training.trainer import Step
from tinv_ext.run.events import Encoded, Evaluated, Event, Generated, Noticed, Prepared, Wrote
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.smoothing import SmoothedLoss
from tinv_ext.run.status import Status

log = logging.getLogger(__name__)
EVERY = 0.5  # seconds between two lines that only say how far it is
_NUMBERS = ("rate", "gradient_norm", "vector_norm", "distance", "left_out")  # of a step, by the names of `Step`


class EventLog:
    """Appends to a file. Where that cannot be written, the run goes on, and a warning says so once.

    What only says how far the run is, is written every so many seconds; with 0, each step and each image.
    """

    def __init__(self, path: Path, every: float = EVERY) -> None:
        self._path, self._every = path, every
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
        """An event of `runner.run`; of a step all numbers, `loss` being the smoothed one and `step_loss` its own."""
        if isinstance(event, Prepared):
            self.add("prepared", run=event.folder.path.absolute(), steps=event.prepared.plan.steps)
        elif isinstance(event, Status):
            values = {"status": event.status, "step": event.steps, "steps": event.total, "reason": event.reason}
            self.add("status", **values, file=event.file, file_step=event.file_step, said=taken_apart(event.reason))
        elif isinstance(event, Noticed):
            self.add("notice", step=event.step, text=event.text, said=taken_apart(event.text))
        elif isinstance(event, Evaluated):
            self.add("evaluated", step=event.step, evaluation=event.loss, best=event.best)
        elif isinstance(event, Wrote):
            self.add("wrote", step=event.step, kind=event.kind, file=event.path.absolute())
        elif isinstance(event, Step):
            loss = self._loss.add(event.loss)
            numbers = {name: getattr(event, name) for name in _NUMBERS}
            self._add_sometimes(
                "step", step=event.number, loss=loss, step_loss=event.loss, **numbers, prompts=event.prompts
            )
        elif isinstance(event, (Encoded, Generated)):
            self._add_sometimes(type(event).__name__.lower(), done=event.done, of=event.total)

    def _add_sometimes(self, event: str, **values: Any) -> None:
        now = time.monotonic()
        if now - self._told >= self._every:
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


def _said(line: Mapping[str, Any], name: str) -> str:
    """The sentence `name` of a line, as a message where it was one whose values JSON could hold."""
    try:
        return str(line.get(name) or "") if line.get("said") is None else put_together(line["said"])
    except (ValueError, TypeError, KeyError):  # a number that was none, which its template cannot show
        return str(line.get(name) or "")


def event_of(line: Mapping[str, Any], prepared: PreparedRun) -> Event | None:
    """The event that a line tells of, as `EventLog.report` wrote it; None where it tells of none that is heard.

    `prepared` is the run as it was checked here: of what the other process found out itself only the folder is told.
    """
    make = _EVENTS.get(line["event"])
    return make(line, prepared) if make else None


def _status(line: Mapping[str, Any], _: PreparedRun) -> Status:
    reason = _said(line, "reason")
    return Status(line["status"], line["step"], line.get("file"), reason, line["steps"], line.get("file_step"))


def _step(line: Mapping[str, Any], _: PreparedRun) -> Step:
    numbers = {name: line[name] for name in _NUMBERS}
    return Step(number=line["step"], loss=_number(line["step_loss"]), **numbers, prompts=tuple(line["prompts"]))


def _number(value: float | None) -> float:
    """JSON has no number that is none."""
    return math.nan if value is None else value


_EVENTS: Mapping[str, Callable[[Mapping[str, Any], PreparedRun], Event]] = {
    "prepared": lambda line, prepared: Prepared(prepared, RunFolder(Path(line["run"]))),
    "status": _status,
    "notice": lambda line, _: Noticed(line.get("step", 0), _said(line, "text")),
    "evaluated": lambda line, _: Evaluated(line["step"], _number(line["evaluation"]), line.get("best", line["step"])),
    "wrote": lambda line, _: Wrote(line["kind"], line["step"], Path(line["file"])),
    "step": _step,
    "encoded": lambda line, _: Encoded(line["done"], line["of"]),
    "generated": lambda line, _: Generated(line["done"], line["of"]),
}
