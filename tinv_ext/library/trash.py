"""Deleted embeddings: moved into a folder beside that of the embeddings, from where they can be restored.

Beside and not below: the WebUI reads every folder below (v1.10.1 `textual_inversion.py`, `load_from_dir`).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.messages import message
from tinv_ext.core.small_files import parse_json, read_small
from tinv_ext.library.moves import holds_anything, move
from tinv_ext.run.run_folder import write_json

_RECORD, _FILES = "deleted.json", "files"


@dataclass(frozen=True)
class Deleted:
    """What was deleted at one time: the key that the embedding had, and when."""

    id: str
    key: str
    when: str


class Trash:
    """What was deleted from the folder of embeddings `folder`: <path>/<time>/deleted.json and files/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder.with_name(f"{folder.name}-deleted")

    def items(self) -> list[Deleted]:
        """What can be restored, the last first."""
        records = sorted(self.path.glob(f"*/{_RECORD}"), reverse=True) if self.path.is_dir() else []
        return [deleted for deleted in map(_read_record, records) if deleted]

    def add(self, key: str, files: Sequence[Path]) -> Deleted:
        """Move an embedding's files here. Raises HostError, and then none was moved."""
        now = datetime.now()
        deleted = Deleted(f"{now:%Y%m%d-%H%M%S-%f}", key, f"{now:%Y-%m-%d %H:%M:%S}")
        folder = self.path / deleted.id / _FILES
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
        try:
            write_json(folder.parent / _RECORD, {"key": key, "when": deleted.when})
            move([(file, folder / file.name) for file in files])
        except HostError:
            shutil.rmtree(folder.parent, ignore_errors=True)  # the files are back where they were
            raise
        return deleted

    def undelete(self, id: str) -> Path:  # noqa: A002 (the word for it)
        """Move the files back. Refused where one of that name exists by now. Returns the embedding's path."""
        deleted = next((one for one in self.items() if one.id == id), None)
        if deleted is None:
            raise InputError(message("library.not_in_trash", "It is no longer in the trash. Refresh the list."))
        folder, path = self.path / deleted.id, self.folder / deleted.key
        moves = [(file, path.parent / file.name) for file in sorted((folder / _FILES).glob("*"))]
        existing = [target.name for _, target in moves if target.exists()]
        if existing:
            raise InputError(
                message(
                    "library.exists_by_now",
                    "There is a new {files:, }. Rename or delete it first.",
                    files=existing,
                )
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        move(moves)
        shutil.rmtree(folder)
        return path


def _read_record(record: Path) -> Deleted | None:
    """What a record says; None when it is none, names a place outside of the folder, or its files are gone."""
    try:
        values = parse_json(read_small(record))
        key, when = values["key"], values["when"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    path = Path(str(key))
    if path.is_absolute() or ".." in path.parts or not holds_anything(record.parent / _FILES):
        return None
    return Deleted(record.parent.name, str(key), str(when))
