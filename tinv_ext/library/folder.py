"""What lies in a folder of embeddings: which files are some, and which other files belong to each.

Files that belong to an embedding are `<name>.preview.png`, `<name>.json`, `<name>.pt.optim` …
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.formats import problem_of, read_all
from tinv_ext.core.messages import Message, encodable, message
from tinv_ext.core.suffixes import TENSOR_SUFFIXES, may_be_embedding


@dataclass(frozen=True)
class LibraryItem:
    """One file of the folder. `key` is its path in the folder, with slashes; `problem` says why it cannot be read."""

    key: str
    name: str
    family: str | None = None
    vectors: int = 0
    step: int | None = None
    problem: str = ""


class EmbeddingFolder:
    """The files in `path` and below. What is known of a file is kept as long as it does not change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[Path, tuple[tuple[int, int], LibraryItem | None]] = {}

    def items(self) -> list[LibraryItem]:
        """Every embedding, by its key; images that carry none are left out."""
        items = (self.item(file) for file in self.files())
        return sorted((item for item in items if item), key=lambda item: item.key.lower())

    def files(self) -> Iterator[Path]:
        """Every file that could be an embedding; no folder twice, whatever links there are."""
        seen: set[str] = set()
        for root, folders, names in os.walk(self.path, followlinks=True):
            real = os.path.realpath(root)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            yield from (file for name in names if may_be_embedding(file := Path(root, name)))

    def key(self, file: Path) -> str:
        """The key of a file."""
        return encodable(file.relative_to(self.path).as_posix())

    def file(self, key: str) -> Path:
        """The file of a key that `items` gave; any other text is refused, so a key cannot lead out of the folder."""
        for file in self.files():
            if self.key(file) == key:
                return file
        raise InputError(message("library.no_embedding", 'There is no embedding "{key}". Refresh the list.', key=key))

    def item(self, file: Path) -> LibraryItem | None:
        """What a file is, read again when it has changed; None where it is no embedding, or is gone."""
        try:
            now = file.stat()
        except FileNotFoundError:
            return None  # it went away, or is a link to nothing
        except OSError as error:
            return self._out_of_reach(file, error)
        stamp = (now.st_mtime_ns, now.st_size)
        if self._known.get(file, (None,))[0] != stamp:
            self._known[file] = (stamp, self._read(file))
        return self._known[file][1]

    def _out_of_reach(self, file: Path, error: OSError) -> LibraryItem | None:
        """An embedding that cannot be looked at: a right is missing, a disk fails, links lead in a circle."""
        if file.suffix.lower() not in TENSOR_SUFFIXES:
            return None
        reason = error.strerror or str(error)
        problem = message("library.out_of_reach", "The file cannot be read: {reason}.", reason=reason)
        return LibraryItem(self.key(file), encodable(file.stem), problem=problem)

    def _read(self, file: Path) -> LibraryItem | None:
        key, name = self.key(file), encodable(file.stem)
        try:
            first = next(iter(read_all(file).values()))
        except Exception as error:  # noqa: BLE001 (a hostile file may raise anything, and must not empty the list)
            if file.suffix.lower() not in TENSOR_SUFFIXES:
                return None
            return LibraryItem(key, name, problem=problem_of(error) if isinstance(error, TinvError) else str(error))
        if name != file.stem:
            return LibraryItem(key, name, problem=_not_utf8(name))
        return LibraryItem(key, name, first.family, first.count, first.step)

    def group(self, file: Path) -> list[Path]:
        """The file and what belongs to it; that stays where another embedding of the same name remains."""
        if any(other.stem == file.stem for other in self._embeddings(file.parent) if other != file):
            return [file]
        return [file, *self._belonging(file.parent, file.stem, file)]

    def name_taken(self, folder: Path, name: str, own: Sequence[Path] = ()) -> list[Message]:
        """A sentence if a file of the folder, other than `own`, has this name already, in capitals or not."""
        embeddings = [file for file in self._embeddings(folder) if file.stem.lower() == name.lower()]
        taken = [file for file in [*embeddings, *self._belonging(folder, name, folder)] if file not in own]
        if not taken:
            return []
        return [message("library.name_taken", '"{file}" already exists. Choose another name.', file=taken[0].name)]

    def name_elsewhere(self, folder: Path, name: str, family: str | None) -> list[Message]:
        """A sentence if an embedding in another folder has this name, for the same model family as far as is known.

        Programs go by the name alone, wherever the file lies, and take whichever they find first.
        """
        for file in self.files():
            if file.parent == folder or file.stem.lower() != name.lower():
                continue
            other = self.item(file)
            if other and (other.family == family or None in (other.family, family)):
                return [
                    message(
                        "library.name_elsewhere",
                        '"{key}" has this name already: prompts could not tell the two apart. Choose another name.',
                        key=other.key,
                    )
                ]
        return []

    def _belonging(self, folder: Path, stem: str, but: Path) -> list[Path]:
        """Files whose names go on from `stem`, and not from the longer one of another embedding."""
        stems = {other.stem for other in self._embeddings(folder)} | {stem}
        return [
            other
            for other in sorted(folder.iterdir())
            if other != but
            and other.is_file()
            and max((one for one in stems if other.name.startswith(f"{one}.")), key=len, default="") == stem
        ]

    def _embeddings(self, folder: Path) -> list[Path]:
        """Those of one folder; `<name>.png` may be one, or the thumbnail of one."""
        return [file for file in self.files() if file.parent == folder and self.item(file)]


def _not_utf8(name: str) -> Message:
    return message(
        "library.name_not_utf8", 'The file name "{name}" is not UTF-8, so no prompt can hold it. Rename it.', name=name
    )
