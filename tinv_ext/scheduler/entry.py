"""An entry of a list of runs: a settings file, and what is known of its run from this time and the times before.

All of it lies in <log directory>/queue/<name>: what happened as lines of JSON, what the run's processes said, and a
lock while one works on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinv_ext.core.printable import valid_json
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.run_lock import owner_of
from tinv_ext.scheduler.event_log import EventReader

START, RESUME = "start", "resume"
FINISHED, STOPPED, FAILED, ELSEWHERE, WAITING = "finished", "stopped", "failed", "running elsewhere", "not started"
OUTCOMES = (FINISHED, STOPPED, FAILED, ELSEWHERE, WAITING)


@dataclass(frozen=True)
class Entry:
    """A settings file whose run is called `name`; `output` is the log directory, `digest` stands for its settings."""

    file: Path
    name: str
    output: Path
    digest: str
    overwrite: bool = False

    @property
    def folder(self) -> Path:
        """What is known of it."""
        return self.output / "queue" / self.name

    @property
    def events(self) -> Path:
        """What happened, as lines of JSON."""
        return self.folder / "events.jsonl"

    @property
    def log(self) -> Path:
        """What the processes of its run have said."""
        return self.folder / "log.txt"


@dataclass(frozen=True)
class Todo:
    """What is to be done for an entry: `START`, `RESUME` the folder `run`, or nothing, as it has an outcome already."""

    act: str
    run: Path | None = None
    changed: bool = False  # its settings since the run began


class Known:
    """What the events of an entry tell, so far."""

    def __init__(self, path: Path) -> None:
        self._reader = EventReader(path)
        self.digest = ""
        self.run: Path | None = None
        self.step = self.steps = 0
        self.loss: float | None = None
        self.evaluation: float | None = None
        self.status = self.doing = ""
        self.seconds = 0.0
        self._since = self._last = 0.0

    def read(self) -> Known:
        """Take in what is new."""
        for event in self._reader.new():
            self._take(event)
        return self

    @property
    def all_seconds(self) -> float:
        """Seconds of all attempts; of one that nobody saw the end of, up to the last thing that it told."""
        return self.seconds + (self._last - self._since if self._since else 0.0)

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, self._last = event["event"], float(event.get("time") or self._last)
        if kind == "begun":
            self.seconds = self.all_seconds if event.get("act") == RESUME else 0.0
            self._since, self.doing, self.status = self._last, "", ""
            self.digest = str(event.get("digest", ""))
            self.run = self.run if event.get("act") == RESUME else None
        elif kind == "ended":
            self.seconds += float(event.get("seconds") or 0.0)
            self._since = 0.0
        elif kind == "prepared":
            self.run = Path(str(event.get("run")))
        elif kind == "evaluated":
            self.evaluation = event.get("evaluation")
        self.doing = kind if kind in ("encoded", "generated", "step") else self.doing
        self.status = str(event.get("status", self.status))
        self.step = int(event.get("step") or self.step)
        self.steps = int(event.get("steps") or self.steps)
        self.loss = event.get("loss", self.loss)


def digest_of(values: Mapping[str, Any]) -> str:
    """Stands for settings and options by name."""
    text = json.dumps(valid_json(values), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def todo(entry: Entry, retry_failed: bool = False) -> Todo:
    """What is to be done for an entry after what has become of its run before."""
    known = Known(entry.events).read()
    run = known.run
    if owner_of(entry.folder) or (run and owner_of(run)):
        return Todo(ELSEWHERE, run)
    if run is None or not RunFolder(run).is_there:
        return Todo(START)
    folder, changed = RunFolder(run), known.digest != entry.digest
    status = folder.last_status().status
    if status == "finished":
        if not changed:
            return Todo(FINISHED, run)
        return Todo(START, changed=True) if entry.overwrite else Todo(RESUME, run, changed)
    if status == "failed" and not (retry_failed or changed):
        return Todo(FAILED, run)
    return Todo(RESUME, run, changed) if folder.can_resume else Todo(START, changed=changed)
