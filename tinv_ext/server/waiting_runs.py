"""Runs that wait for their turn, kept on disk: a program that ends, or is killed, does not lose them.

Each program has a file of its own, <log directory>/waiting/<process>/runs.json, and holds the folder's lock as long as
runs wait; when none does, the folder is gone. What is left in a folder that nobody holds was waiting when its program
ended, and is offered by the next one (`server/left_runs.py`).
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from tinv_ext.core.small_files import parse_json, read_small
from tinv_ext.run.run_folder import RunFolder, write_json
from tinv_ext.run.run_lock import locked, owner_of
from tinv_ext.server.queued_run import Job

log = logging.getLogger(__name__)
FOLDER, _FILE = "waiting", "runs.json"


@dataclass(frozen=True)
class WaitingRun:
    """What a job was asked for, as it was asked, so that it can be asked for again.

    `settings` are those of a new run; where it resumes one, `run` is that run's id in the log directory `output`, and
    `settings` are the changes to it. `model` has name and hash of the model that it is for. `device`: as in `Job`.
    `forgotten` by a person, who can still take that back.
    """

    id: str
    name: str
    settings: Mapping[str, Any]
    run: str = ""
    output: str = ""
    device: str = ""
    steps: int = 0
    model: Mapping[str, str] = field(default_factory=dict)
    forgotten: bool = False


def waiting_run(job: Job) -> WaitingRun | None:
    """What to keep of a job; None where it no longer waits."""
    request = job.request  # whose turn comes may lose it in this moment
    if request is None or not job.waits:
        return None
    kept = WaitingRun(job.id, job.config.name, job.asked, device=job.device, steps=job.now.total)
    kept = replace(kept, model=named_model(request.host.facts))
    if request.resumes is None:
        return kept
    folder = RunFolder(request.resumes)
    return replace(kept, run=folder.id, output=folder.log_directory)


class WaitingFile:
    """The file of this program. A disk that cannot be written to is told once, and no run is refused for it."""

    def __init__(self, log_directory: Path) -> None:
        self._folder = log_directory / FOLDER / f"{os.getpid()}-{secrets.token_hex(4)}"
        self._held, self._lock, self._written = ExitStack(), Lock(), tuple[WaitingRun, ...]()
        self._ends = self._told = False

    def write(self, waiting: Sequence[WaitingRun]) -> None:
        """Keep these, in this order; where there are none, nothing is left of the folder."""
        with self._lock:
            if self._ends or tuple(waiting) == self._written:
                return
            try:
                self._write(waiting)
                self._written = tuple(waiting)
            except (OSError, TypeError) as error:  # a program of Python may have given what JSON cannot hold
                if not self._told:
                    log.warning("The runs that wait are not kept on disk: %s", error)
                self._told = True

    def _write(self, waiting: Sequence[WaitingRun]) -> None:
        if not waiting:
            (self._folder / _FILE).unlink(missing_ok=True)  # first: without the lock, others would take it on
            self._held.close()
            _remove(self._folder)
            return
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True)
            self._held.enter_context(locked(self._folder, log.warning))
        _write(self._folder, waiting)

    def leave(self) -> int:
        """Let go of the file, for the next program to find; how many runs it has. Nothing is written any more."""
        with self._lock:
            self._ends = True
            with suppress(OSError):
                self._held.close()
            return len(self._written)


class LeftFiles:
    """The files of programs that have ended."""

    def __init__(self, log_directory: Path) -> None:
        self._folder = log_directory / FOLDER
        self._told: set[Path] = set()

    def read(self) -> list[tuple[Path, WaitingRun]]:
        """Each run that waited, with the folder of its program, in the order of the queue."""
        return [(folder, entry) for folder in self._left() for entry in self._read(folder)]

    def change(self, folder: Path, changed: WaitingRun) -> None:
        """Put an entry in the place of the one with its id. OSError where the file cannot be read or written."""
        _write(folder, [changed if entry.id == changed.id else entry for entry in _parsed(folder)])

    def remove(self, folder: Path, id: str) -> None:  # noqa: A002 (the word for it)
        """Take an entry out. OSError where the file cannot be read or written."""
        rest = [entry for entry in _parsed(folder) if entry.id != id]
        _write(folder, rest) if rest else _remove(folder)

    def tidy(self) -> None:
        """Remove what holds nothing but runs that were forgotten."""
        for folder in self._left():
            entries = self._read(folder)
            if entries and all(entry.forgotten for entry in entries):
                _remove(folder)

    def _left(self) -> Iterator[Path]:
        try:
            folders = sorted(self._folder.iterdir(), key=lambda folder: folder.stat().st_mtime)
        except OSError:  # there is none, or it was removed meanwhile
            return
        yield from (folder for folder in folders if (folder / _FILE).is_file() and owner_of(folder) is None)

    def _read(self, folder: Path) -> list[WaitingRun]:
        try:
            return _parsed(folder)
        except OSError as error:
            if folder not in self._told:
                log.warning("%s cannot be read; the runs that waited there are not offered: %s", folder / _FILE, error)
            self._told.add(folder)
            return []


def _parsed(folder: Path) -> list[WaitingRun]:
    """What a file tells. OSError where it cannot be read: to write it again then would lose runs."""
    try:
        return [_entry(values) for values in parse_json(read_small(folder / _FILE))["runs"]]
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(errno.EINVAL, f"it is damaged: {error}") from error


def _entry(values: Any) -> WaitingRun:
    """What the file says of a run. ValueError where a value is missing or of another kind."""
    if not isinstance(values, dict):
        raise ValueError("an entry is no table")
    given = {key: values[key] for key in WaitingRun.__dataclass_fields__ if key in values}
    for key, kind in (("id", str), ("name", str), ("settings", dict), ("steps", int), ("model", dict)):
        if not isinstance(given.setdefault(key, kind()), kind):
            raise ValueError(f'"{key}" of an entry is {given[key]!r}')
    for key in ("run", "output", "device"):
        given[key] = str(given.get(key, ""))
    if not given["id"]:
        raise ValueError('an entry has no "id"')
    return WaitingRun(**{**given, "forgotten": given.get("forgotten") is True})


def named_model(facts: Mapping[str, Any]) -> dict[str, str]:
    """Name and hash of a model, as far as its host's facts tell."""
    return {key: str(facts[key]) for key in ("model_name", "model_hash") if facts.get(key)}


def _write(folder: Path, waiting: Sequence[WaitingRun]) -> None:
    write_json(folder / _FILE, {"runs": [asdict(entry) for entry in waiting]})


def _remove(folder: Path) -> None:
    (folder / _FILE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)  # what is left of it tells nothing
    with suppress(OSError):  # another program has its own there
        folder.parent.rmdir()
