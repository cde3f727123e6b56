"""A folder of embeddings: list, inspect, add, rename, delete, convert, extend, average."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from tinv_ext.core.atomic import atomic_write, make_folder
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError, HostError, InputError, NumericError, TinvError
from tinv_ext.core.formats import FOLDERS, problem_of, read_all
from tinv_ext.core.messages import encodable, message
from tinv_ext.core.names import bare_name, name_problems, word_problems
from tinv_ext.core.suffixes import TENSOR_SUFFIXES
from tinv_ext.hosts.base import Host
from tinv_ext.library import convert, inspect
from tinv_ext.library.combine import averaged, extended
from tinv_ext.library.convert import ConvertOptions, Written
from tinv_ext.library.folder import EmbeddingFolder, LibraryItem
from tinv_ext.library.moves import moved
from tinv_ext.library.rename import renaming
from tinv_ext.library.trash import Deleted, Trash
from tinv_ext.run import run_folder

Result = TypeVar("Result")
_RUNS = 20  # of which snapshots are offered


class Library:
    """The embeddings in `folder`. With a `host` what changes is usable in the next prompt, and tokens can be compared.

    What belongs to an embedding (see `folder`) goes with it. Every method raises InputError for what cannot be done,
    HostError where the disk refuses; nothing is half done.
    """

    def __init__(
        self, folder: Path, host: Callable[[], Host] | None = None, logs: Callable[[], Iterable[Path]] = tuple
    ) -> None:
        """`logs()` gives log directories, whose runs' snapshots can be averaged, too."""
        self.folder = folder
        self.trash = Trash(folder)
        self._files = EmbeddingFolder(folder)
        self._host = host
        self._logs = logs

    def items(self) -> list[LibraryItem]:
        """Every embedding, by its key; images that carry none are left out."""
        return self._files.items()

    def path(self, key: str) -> Path:
        """The file of a key that `items` gave; any other text is refused, so a key cannot lead out of the folder."""
        return self._files.file(key)

    def key(self, file: Path) -> str:
        """The key of a file of the folder."""
        return self._files.key(file)

    def snapshots(self) -> dict[str, Path]:
        """Embeddings that runs saved on the way, of the last runs, the latest run first, by what to call them."""
        latest = run_folder.find_runs(*self._logs())[:_RUNS]
        return {
            encodable(f"{run.id}/{path.name}"): path
            for run in latest
            for path in sorted((run.path / "embeddings").glob("*.*"), key=lambda path: (len(path.name), path.name))
            if path.suffix.lower() in TENSOR_SUFFIXES
        }

    def file(self, key: str) -> Path:
        """The file of a key of `items` or of `snapshots`."""
        return self.snapshots().get(key) or self.path(key)

    def blended(self, shares: Sequence[tuple[str, float]]) -> Embedding:
        """An embedding by its key, or the weighted mean of several, which is not written anywhere."""
        opened = [convert.open_embedding(self.file(key))[0] for key, _ in shares]
        if len(opened) == 1:
            return opened[0]
        return averaged(opened, "blend", [weight for _, weight in shares])

    def inspect(self, key: str) -> dict[str, Any]:
        """As `inspect.inspect`, with the nearest tokens where the host has a model that fits."""
        path = self.path(key)
        try:
            token_table = self._host().token_table if self._host else None
        except TinvError:
            token_table = None  # no model, or none that is known here: the rest can be told all the same
        return inspect.inspect(path, token_table)

    def convert(self, key: str, folder: Path, options: ConvertOptions) -> list[Path]:
        """Write it in another format into a folder outside of this one; returns the files made there."""
        target = folder / self.path(key).stem if options.to in FOLDERS else folder
        written = convert.convert(self.path(key), target, options)
        return sorted(written.path.iterdir()) if written.path.is_dir() else [written.path]

    def add(self, source: Path, overwrite: bool = False) -> list[Path]:
        """Take every embedding of a file of any format into the folder, each in its family's usual format.

        The name is the file's stem, or what a bundle calls it. With `overwrite` those of the same name are deleted
        first, and can be undeleted.
        """
        try:
            embeddings = list(read_all(source).values())
        except (FormatError, NumericError) as error:
            raise InputError(problem_of(error)) from error
        problems = [problem for one in embeddings for problem in self._name_problems(one.name)]
        names = {one.name.lower() for one in embeddings}
        existing = [file for file in self._files.files() if file.stem.lower() in names and self._files.item(file)]
        if not overwrite:
            problems += [
                message(
                    "library.exists", '"{file}" already exists. Replace it, or rename the new file.', file=file.name
                )
                for file in existing
            ]
        if problems:
            raise InputError(problems)
        for file in existing:
            self.delete(self._files.key(file))
        self.folder.mkdir(parents=True, exist_ok=True)
        return self._changed([convert.write_new(one, self.folder, ConvertOptions()).path for one in embeddings])

    def extend(self, key: str, count: int, fill: str, name: str) -> Written:
        """A new embedding of `count` vectors beside the old one."""
        embedding, notices = convert.open_embedding(self.path(key))
        return self._write_new(extended(embedding, count, fill), self.path(key).parent, name, notices)

    def average(self, keys: Sequence[str], name: str, weights: Sequence[float] = ()) -> Written:
        """A new embedding, the mean of several, in the folder; keys of `items` and of `snapshots`."""
        opened = [convert.open_embedding(self.file(key)) for key in keys]
        mean = averaged([embedding for embedding, _ in opened], name, weights)
        return self._write_new(mean, self.folder, name, [notice for _, notices in opened for notice in notices])

    def _write_new(self, embedding: Embedding, folder: Path, name: str, notices: Sequence[str]) -> Written:
        name = bare_name(name)
        problems = self._name_problems(name) or self._files.name_taken(folder, name)
        problems = problems or self._files.name_elsewhere(folder, name, embedding.family)
        if problems:
            raise InputError(problems)
        written = convert.write_new(embedding, folder, ConvertOptions(name=name))
        return self._changed(replace(written, notices=(*notices, *written.notices)))

    def _name_problems(self, name: str) -> list[str]:
        """What is wrong with a name for an embedding, as Train says it: also that the model knows the word already."""
        problems = name_problems(name)
        if problems or not self._host:
            return problems
        try:
            tokenizer = self._host().token_table.tokenizer
        except TinvError:
            return []  # no model to ask
        ids = tokenizer.ids(name)
        if len(ids) == 1 and not tokenizer.spellings(ids)[0].endswith("</w>"):
            return []  # a letter within words, or a tokenizer that is not CLIP's
        return [*word_problems(name, ids)]

    def rename(self, key: str, name: str, anyway: bool = False) -> Path:
        """Give it another name: its file, the name inside the file, and what belongs to it. Returns the new path.

        One that an embedding in another folder has is refused, and a word that the model knows, unless `anyway`: a
        renaming can be taken back.
        """
        name = bare_name(name)
        old = self.path(key)
        group = self._files.group(old)
        wrong = name_problems(name) if anyway else self._name_problems(name)
        problems: Sequence[str] = wrong or self._files.name_taken(old.parent, name, group)
        item = self._files.item(old)
        if not problems and not anyway:
            problems = self._files.name_elsewhere(old.parent, name, item.family if item else None)
        if not problems and name == old.stem:
            problems = [message("library.same_name", 'It is already called "{name}". Choose another name.', name=name)]
        if problems:
            raise InputError(problems)
        new, write = old.with_name(f"{name}{old.suffix}"), renaming(old, name)
        with moved([(file, file.with_name(name + file.name[len(old.stem) :])) for file in group]):
            if write:
                write(new)
        return self._changed(new)

    def delete(self, key: str) -> Deleted:
        """Move it, with what belongs to it, into the trash."""
        return self._changed(self.trash.add(key, self._files.group(self.path(key))))

    def deleted(self) -> list[Deleted]:
        """What can be undeleted, the last first."""
        return self.trash.items()

    def undelete(self, id: str) -> Path:  # noqa: A002 (the word for it)
        """Move what was deleted back. Refused where something of that name exists by now. Returns its path."""
        return self._changed(self.trash.undelete(id))

    def restore_replaced(self, backup: Path, name: str) -> Path:
        """Put a copy of what a run has replaced, a pair of `RunFolder.replaced`, back into the folder.

        What has the name now is deleted first, and can be undeleted. Returns the path.
        """
        try:
            data = backup.read_bytes()
        except OSError as error:
            raise HostError(
                message(
                    "library.backup_unreadable",
                    '"{path}" cannot be read ({error}). Nothing was changed.',
                    path=backup,
                    error=error.strerror,
                )
            ) from error
        target = self.folder / name
        for file in [file for file in self._files.files() if file.parent == self.folder and self._files.item(file)]:
            if file.stem.lower() == target.stem.lower():
                self.delete(self._files.key(file))
        make_folder(self.folder)
        with atomic_write(target) as opened:
            opened.write(data)
        return self._changed(target)

    def _changed(self, result: Result) -> Result:
        """Have the host read the folder again; one without a model it can use reads it by itself, later."""
        if self._host:
            with suppress(TinvError):  # no model that can use one is loaded: there is nothing to refresh
                self._host().refresh_embeddings()
        return result
