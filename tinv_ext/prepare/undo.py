"""What a preparation writes, so that it can be undone: <folder>/.tinv-prepare/<time>/written.jsonl, and former files.

A line is written before its file is, so that a preparation that was killed can be undone, too. A file that was changed
since is the user's, and stays.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from tinv_ext.core.atomic import atomic_copy, atomic_write, make_folder
from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.messages import Message, message

log = logging.getLogger(__name__)
FOLDER = ".tinv-prepare"
"""Begins with a dot, so that nobody takes what is in it for images."""
_LINES, _FORMER, _UNDONE = "written.jsonl", "former", "undone"
_GONE = ""  # in the place of the digest of a file that was removed
_NAMED = 5
_LARGEST = 1 << 28  # bytes of a list that is read: of a million files


@dataclass(frozen=True)
class Undone:
    """How many files were removed and restored, and which were left because they were changed since."""

    removed: int
    restored: int
    changed: tuple[Path, ...]

    def sentences(self) -> list[Message]:
        """What was done, and what was not."""
        done = message(
            "prepare.undone",
            "Undone: {removed:file|files} removed, {restored} restored.",
            removed=self.removed,
            restored=self.restored,
        )
        if not self.changed:
            return [done]
        return [
            done,
            message(
                "prepare.changed_since",
                "{count:file was|files were} left as they are, because they were changed since: {names:, }.",
                count=len(self.changed),
                names=[path.name for path in self.changed[:_NAMED]],
            ),
        ]


class Record:
    """What one preparation has written into `folder`."""

    def __init__(self, folder: Path, place: Path) -> None:
        self.folder = folder
        self.place = place

    @classmethod
    def begin(cls, folder: Path, edit: str = "") -> Record:
        """A new one; the folder is made if need be. Raises as `atomic_write`.

        `edit` says what a single change by hand is and of which image, as "turn cat.png"; empty for a preparation.
        """
        place = folder / FOLDER / f"{datetime.now():%Y%m%d-%H%M%S-%f}"
        made = not folder.exists()
        make_folder(place)
        record = cls(folder, place)
        record._add({"made_folder": made, **({"edit": edit} if edit else {})})
        return record

    @property
    def edit(self) -> str:
        """The change by hand that it is of; empty for a preparation."""
        try:
            return next((str(line["edit"]) for line in self._lines() if "edit" in line), "")
        except OSError as error:  # to undo it says so to whoever asks for that
            log.warning("%s cannot be read: %s", self.place / _LINES, error)
            return ""

    @property
    def when(self) -> str:
        """The time at which it began, as its folder is called."""
        return self.place.name

    def write(self, path: Path, data: bytes) -> None:
        """Write a file whole or not at all; what was there before is kept. Raises as `atomic_write`."""
        self._add({"file": self._name(path), "sha256": _digest(data), "former": self._kept(path)})
        with atomic_write(path) as file:
            file.write(data)

    def remove(self, path: Path) -> None:
        """Remove a file, which is kept here. Raises as `atomic_write`, HostError where it cannot be removed."""
        self._add({"file": self._name(path), "sha256": _GONE, "former": self._kept(path)})
        try:
            path.unlink()
        except OSError as error:
            raise HostError(
                message(
                    "prepare.not_removed",
                    '"{path}" could not be removed ({reason}). Close the program that has it open, then try again.',
                    path=path,
                    reason=error.strerror or str(error),
                )
            ) from error

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _kept(self, path: Path) -> bool:
        """Whether there is such a file; it is kept as it is, unless that was done before."""
        exists = path.exists()
        former = self.place / _FORMER / self._name(path)
        if exists and not former.exists():
            make_folder(former.parent)
            atomic_copy(path, former)
        return exists

    def discard(self) -> None:
        """Forget it, as nothing was written; what cannot be removed stays, and undoes nothing."""
        with suppress(OSError):
            self._close(keep=False)

    def undo(self) -> Undone:
        """Remove what was written and bring back what was there before. HostError where the system refuses."""
        try:
            return self._undo()
        except OSError as error:
            raise HostError(
                message(
                    "prepare.not_undone",
                    '"{path}" could not be restored or removed ({reason}). What is left can be undone later.',
                    path=error.filename,
                    reason=error.strerror or str(error),
                )
            ) from error

    def _undo(self) -> Undone:
        removed = restored = 0
        changed = []
        for path, digest in self._last_digests().items():
            former = self.place / _FORMER / path.relative_to(self.folder)
            if not path.exists() and not former.exists():
                continue
            if path.exists() and not _has_digest(path, digest):
                if not (former.exists() and path.read_bytes() == former.read_bytes()):
                    changed.append(path)
                continue
            if former.exists():
                atomic_copy(former, path)
                restored += 1
            else:
                path.unlink()
                removed += 1
        self._close(keep=bool(changed))
        return Undone(removed, restored, tuple(changed))

    def _close(self, keep: bool) -> None:
        """Forget the record, unless what was there before is still needed; and the folder that was made for it."""
        made = any(line.get("made_folder") for line in self._lines())
        if keep:
            (self.place / _UNDONE).touch()
            return
        shutil.rmtree(self.place)
        with suppress(OSError):  # not empty: another preparation, or files of the user's
            self.place.parent.rmdir()
            if made:
                self.folder.rmdir()

    def _last_digests(self) -> dict[Path, str]:
        """The files that were written, each with what was written last; none that lies elsewhere, whatever it says."""
        top = Path(os.path.realpath(self.folder))
        found: dict[Path, str] = {}
        for line in self._lines():
            name, digest = line.get("file"), line.get("sha256")
            if not isinstance(name, str) or not isinstance(digest, str):
                continue
            path = self.folder / PurePosixPath(name)
            inside = top in Path(os.path.realpath(path.parent) + os.sep + "x").parents
            if inside and ".." not in path.parts:
                found[path] = digest
        return found

    def _lines(self) -> Iterator[dict[str, Any]]:
        """What was noted; the last line may be cut short. OSError if it cannot be read: then nothing may be undone."""
        try:
            with (self.place / _LINES).open("rb") as file:
                lines = file.read(_LARGEST).split(b"\n")
        except FileNotFoundError:  # it ended before it had written anything
            return
        for line in lines:
            with suppress(ValueError, RecursionError):
                noted = json.loads(line.decode("utf-8"))
                if isinstance(noted, dict):
                    yield noted

    def _add(self, noted: dict[str, Any]) -> None:
        try:
            with (self.place / _LINES).open("ab") as file:
                file.write(json.dumps(noted).encode("ascii") + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise HostError(
                message(
                    "prepare.no_record",
                    'What is written could not be noted in "{path}" ({reason}), so nothing more is written.',
                    path=self.place,
                    reason=error.strerror or str(error),
                )
            ) from error


def records(folder: Path) -> list[Record]:
    """The preparations of a folder that can be undone, the last first."""
    top = folder / FOLDER
    places = sorted(top.iterdir(), reverse=True) if top.is_dir() and not top.is_symlink() else []
    return [Record(folder, place) for place in places if (place / _LINES).is_file() and not (place / _UNDONE).exists()]


def undo_last(folder: Path) -> Undone:
    """Undo the last preparation of a folder. `InputError` if there is none."""
    found = records(folder)
    if not found:
        raise InputError(
            message("prepare.nothing_to_undo", 'There is no preparation to undo in "{folder}".', folder=folder)
        )
    return found[0].undo()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _has_digest(path: Path, digest: str) -> bool:
    return _digest(path.read_bytes()) == digest
