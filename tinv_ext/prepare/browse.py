"""Folders to choose from: what lies below one, and where to begin."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinv_ext.core.data.image_folder import files_in
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message

_MOST = 500  # folders that are listed


@dataclass(frozen=True)
class Place:
    """A folder, the one above it (None at the top, or where it may not be opened), its sub-folders, and its images."""

    path: Path
    above: Path | None
    folders: tuple[str, ...]
    images: int


def place(path: Path, may_open: Callable[[Path], bool]) -> Place:
    """What is in a folder, hidden folders apart. `InputError` if it is none or cannot be read."""
    if not path.is_dir():
        raise InputError(no_folder(path))
    try:
        entries = list(os.scandir(path))
    except OSError as error:
        raise InputError(
            message(
                "uploads.folder_unreadable",
                'The folder "{folder}" cannot be opened ({reason}). Choose another one.',
                folder=path,
                reason=error.strerror or str(error),
            )
        ) from error
    folders = [entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry)]
    kept = [name for name in sorted(folders, key=str.lower)[:_MOST] if may_open(path / name)]
    above = path.parent if path.parent != path and may_open(path.parent) else None
    return Place(path, above, tuple(kept), sum(1 for _ in files_in(path)))


def no_folder(path: Path) -> Message:
    """That a folder does not exist."""
    return message("uploads.no_folder", 'There is no folder "{folder}". Choose another one.', folder=path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
