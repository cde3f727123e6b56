"""Runs cleaned up: how much room each takes, and what is thrown away, which can be brought back until it is deleted.

Thrown away is what lies in <log>/deleted/<time>/: record.json, and files/ with the paths that they had in the run. It
still takes its room; only `empty` frees it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.messages import message
from tinv_ext.core.small_files import parse_json, read_small
from tinv_ext.library.moves import holds_anything, move
from tinv_ext.run.run_folder import RunFolder, write_json
from tinv_ext.run.run_lock import FILE, locked

FOLDER, _RECORD, _FILES = "deleted", "record.json", "files"
PARTS: Mapping[str, tuple[str, ...]] = {
    "snapshots": ("embeddings", "image_embeddings", "diffusers"),
    "previews": ("images",),
    "replaced": ("replaced",),
    "state": ("state.safetensors", "state.previous.safetensors"),
}
"""What a run holds beside its settings and curve, each with its folders and files."""
WHOLE = "run"


@dataclass(frozen=True)
class DeletedRun:
    """What was thrown away at one time: of which run, which parts of it, when, and its size in bytes."""

    id: str
    run: str
    parts: tuple[str, ...]
    when: str
    size: int


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each of `PARTS` that is there, and of the whole run."""
    entries = {name: [folder / path for path in paths] for name, paths in PARTS.items()}
    found = {name: sum(map(_size, paths)) for name, paths in entries.items()}
    return {**{name: size for name, size in found.items() if size}, WHOLE: _size(folder)}


def _size(path: Path) -> int:
    """Bytes of a file or of everything below a folder; links are not followed."""
    try:
        if not path.is_dir():
            return path.lstat().st_size if path.exists() else 0
    except OSError:
        return 0
    files = (Path(root, name) for root, _, names in os.walk(path) for name in names)
    return sum(os.lstat(file).st_size for file in files if os.path.lexists(file))


class RunTrash:
    """What was thrown away of the runs of a log directory."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.path = log / FOLDER

    def items(self) -> list[DeletedRun]:
        """What can be brought back, the last first."""
        records = sorted(self.path.glob(f"*/{_RECORD}"), reverse=True) if self.path.is_dir() else []
        return [deleted for deleted in map(_read_record, records) if deleted]

    def add(self, run: RunFolder, parts: Sequence[str]) -> DeletedRun:
        """Throw away a whole run (`WHOLE`), or some of `PARTS`. `InputError` while a program has the run."""
        unknown = [part for part in parts if part != WHOLE and part not in PARTS]
        if unknown or not parts:
            raise InputError(
                message(
                    "library.unknown_part",
                    "A run has no {unknown:, }. Name what to delete: {parts:, }.",
                    unknown=unknown or [""],
                    parts=[WHOLE, *PARTS],
                )
            )
        now = datetime.now()
        place = self.path / f"{now:%Y%m%d-%H%M%S-%f}"
        told: list[str] = []
        with locked(run.path, told.append):
            moves = list(self._moves(run.path, parts, place / _FILES))
            size = sum(_size(old) for old, _ in moves)
            if not moves:
                raise InputError(
                    message("library.nothing_to_delete", 'The run "{run}" has nothing of that.', run=run.id)
                )
            deleted = DeletedRun(place.name, run.id, tuple(parts), f"{now:%Y-%m-%d %H:%M:%S}", size)
            self._make(place / _FILES)
            try:
                write_json(place / _RECORD, {"run": run.id, "parts": parts, "when": deleted.when, "size": size})
                move(moves)
            except HostError:
                shutil.rmtree(place, ignore_errors=True)  # the files are back where they were
                raise
        if WHOLE in parts:
            shutil.rmtree(run.path, ignore_errors=True)  # holds nothing but the lock, if that
        return deleted

    def _moves(self, folder: Path, parts: Sequence[str], target: Path) -> Iterator[tuple[Path, Path]]:
        if WHOLE in parts:
            entries = sorted(path.name for path in folder.iterdir() if not path.name.lstrip(".").startswith(FILE))
        else:
            entries = [name for part in parts for name in PARTS[part]]
        yield from ((folder / name, target / name) for name in entries if os.path.lexists(folder / name))

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise HostError(
                message(
                    "library.no_trash",
                    'The folder "{folder}" could not be created ({error}). Nothing was deleted.',
                    folder=self.path,
                    error=error.strerror,
                )
            ) from error

    def undelete(self, id: str) -> str:  # noqa: A002 (the word for it)
        """Move it back; returns the run's id. Refused where something is in its place by now."""
        deleted = self._get(id)
        target, source = self.log / deleted.run, self.path / deleted.id / _FILES
        moves = [(file, target / file.name) for file in sorted(source.iterdir())]
        rest_is_here = any(one.run == deleted.run and WHOLE in one.parts for one in self.items())
        if rest_is_here and WHOLE not in deleted.parts and not RunFolder(target).is_there:
            raise InputError(
                message(
                    "library.run_in_trash", 'The run "{run}" is in the trash, too. Restore that first.', run=deleted.run
                )
            )
        existing = [new.name for _, new in moves if os.path.lexists(new)]
        if existing:
            raise InputError(
                message(
                    "library.run_exists_by_now",
                    'The run "{run}" has a new {files:, }. Delete that first.',
                    run=deleted.run,
                    files=existing,
                )
            )
        target.mkdir(parents=True, exist_ok=True)
        move(moves)
        shutil.rmtree(self.path / deleted.id, ignore_errors=True)
        return deleted.run

    def empty(self, removed: Callable[[Path], None] = shutil.rmtree) -> int:
        """Delete for good what was thrown away; returns how many bytes that frees."""
        freed = 0
        for deleted in self.items():
            try:
                removed(self.path / deleted.id)
            except OSError as error:
                raise HostError(
                    message(
                        "library.not_deleted",
                        '"{path}" could not be deleted ({error}). Close what uses it, and try again.',
                        path=self.path / deleted.id,
                        error=error.strerror or str(error),
                    )
                ) from error
            freed += deleted.size
        return freed

    def _get(self, id: str) -> DeletedRun:  # noqa: A002
        deleted = next((one for one in self.items() if one.id == id), None)
        if deleted is None:
            raise InputError(message("library.not_in_trash", "It is no longer in the trash. Refresh the list."))
        return deleted


def _read_record(record: Path) -> DeletedRun | None:
    """What a record says; None when it is none, names a place outside of the log directory, or its files are gone."""
    try:
        values = parse_json(read_small(record))
        run, parts = str(values["run"]), tuple(map(str, values["parts"]))
        deleted = DeletedRun(record.parent.name, run, parts, str(values["when"]), int(values["size"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    path = Path(run)
    if path.is_absolute() or ".." in path.parts or len(path.parts) != 2:
        return None
    return deleted if holds_anything(record.parent / _FILES) else None
