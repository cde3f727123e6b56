"""A folder of embeddings as a person keeps it: look, add, rename, delete and bring back, extend,
average, convert.

Files that belong to an embedding (`<name>.preview.png`, `<name>.json`, `<name>.pt.optim` …) go with it. What is deleted
moves into a folder beside, not below: the WebUI reads every folder below (v1.10.1 `textual_inversion.py`,
`load_from_dir`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from tinv_ext.core.atomic import atomic_write, make_folder
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError, HostError, InputError, NumericError, TinvError
from tinv_ext.core.formats import FOLDER, Contents, read_all, read_contents, write_embedding
from tinv_ext.core.formats.png import carried_picture, save_png_with_embedding
from tinv_ext.core.names import name_problems
from tinv_ext.hosts.base import Host
from tinv_ext.library import convert, inspect
from tinv_ext.library.combine import averaged, extended
from tinv_ext.library.convert import ConvertOptions, Written
from tinv_ext.run import run_folder

Result = TypeVar("Result")
_RECORD, _FILES = "deleted.json", "files"
_RUNS = 20  # of which snapshots are offered
_REWRITTEN = {"A1111": "a1111", "kohya": "kohya", "OneTrainer": "onetrainer"}


@dataclass(frozen=True)
class Item:
    """One file of the folder. `key` is its path in the folder, with slashes; `problem` says why it cannot be read."""

    key: str
    name: str
    family: str | None = None
    vectors: int = 0
    step: int | None = None
    problem: str = ""


@dataclass(frozen=True)
class Deleted:
    """What was deleted at one time: the key that the embedding had, and when."""

    id: str
    key: str
    when: str


class Library:
    """The embeddings in `folder`. With a `host` what changes is usable in the next prompt, and words can be compared.

    Every method raises InputError for what cannot be done, HostError where the disk refuses; nothing is half done.
    """

    def __init__(
        self, folder: Path, host: Callable[[], Host] | None = None, logs: Callable[[], Iterable[Path]] = tuple
    ) -> None:
        """`logs()` gives log directories, whose runs' snapshots can be averaged, too."""
        self.folder = folder
        self.bin = folder.with_name(f"{folder.name}-deleted")
        self._host = host
        self._logs = logs
        self._known: dict[Path, tuple[tuple[int, int], Item | None]] = {}

    def items(self) -> list[Item]:
        """Every embedding, by its key; pictures that carry none are left out."""
        found = (self._item(path) for path in self._files())
        return sorted((item for item in found if item), key=lambda item: item.key.lower())

    def path(self, key: str) -> Path:
        """The file of a key that `items` gave; any other text is refused, so a key cannot lead out of the folder."""
        for path in self._files():
            if self._key(path) == key:
                return path
        raise InputError(f'There is no embedding "{key}" any more: look at the list anew.')

    def snapshots(self) -> dict[str, Path]:
        """Embeddings that runs saved on the way, of the last runs, the latest run first, by what to call them."""
        found = {run.path.resolve(): run.path for log in self._logs() for run in run_folder.find(log)}
        latest = sorted(found.values(), key=lambda run: (run / "config.json").stat().st_mtime, reverse=True)[:_RUNS]
        return {
            f"{run.parent.name}/{run.name}/{path.name}": path
            for run in latest
            for path in sorted((run / "embeddings").glob("*.*"), key=lambda path: (len(path.name), path.name))
            if path.suffix.lower() in run_folder.PLAIN_SUFFIXES
        }

    def inspect(self, key: str) -> dict[str, Any]:
        """As `inspect.inspect`, with the nearest words where the host has a model that fits."""
        path = self.path(key)
        try:
            token_table = self._host().token_table if self._host else None
        except TinvError:
            token_table = None  # no model, or none that is known here: the rest can be told all the same
        return inspect.inspect(path, token_table)

    def convert(self, key: str, folder: Path, wish: ConvertOptions) -> list[Path]:
        """Write it in another format into a folder outside of this one; returns the files made there."""
        target = folder / self.path(key).stem if wish.to == FOLDER else folder
        written = convert.convert(self.path(key), target, wish)
        return sorted(written.path.iterdir()) if written.path.is_dir() else [written.path]

    def add(self, source: Path, overwrite: bool = False) -> list[Path]:
        """Take every embedding of a file of any format into the folder, each in its family's usual format.

        The word is the file's stem, or what a bundle calls it. With `overwrite` those of the same word are deleted
        first, and can be brought back.
        """
        try:
            found = list(read_all(source).values())
        except (FormatError, NumericError) as error:
            raise InputError(str(error).removeprefix(f"{source}: ")) from error
        problems = [problem for one in found for problem in name_problems(one.name)]
        there = [path for one in found for path in self._files() if path.stem.lower() == one.name.lower()]
        if there and not overwrite:
            problems += [
                f'"{path.name}" is there already: have it overwritten, or call the file else.' for path in there
            ]
        if problems:
            raise InputError(problems)
        for path in there:
            self.delete(self._key(path))
        self.folder.mkdir(parents=True, exist_ok=True)
        return self._changed([convert.write_new(one, self.folder, ConvertOptions()).path for one in found])

    def extend(self, key: str, count: int, fill: str, name: str) -> Written:
        """A new embedding of `count` vectors beside the old one."""
        embedding, notices = convert.open_embedding(self.path(key))
        return self._add(extended(embedding, count, fill), self.path(key).parent, name, notices)

    def average(self, keys: Sequence[str], name: str, weights: Sequence[float] = ()) -> Written:
        """A new embedding, the mean of several, in the folder; keys of `items` and of `snapshots`."""
        snapshots = self.snapshots()
        paths = [snapshots.get(key) or self.path(key) for key in keys]
        opened = [convert.open_embedding(path) for path in paths]
        mean = averaged([embedding for embedding, _ in opened], name, weights)
        return self._add(mean, self.folder, name, [notice for _, some in opened for notice in some])

    def _add(self, embedding: Embedding, folder: Path, name: str, notices: Sequence[str]) -> Written:
        problems = name_problems(name) or self._taken(folder, name, ())
        if problems:
            raise InputError(problems)
        written = convert.write_new(embedding, folder, ConvertOptions(name=name))
        return self._changed(replace(written, notices=(*notices, *written.notices)))

    def rename(self, key: str, name: str) -> Path:
        """Give it another word: its file, the name inside the file, and what belongs to it. Returns the new path."""
        old = self.path(key)
        group = self._group(old)
        problems = name_problems(name) or self._taken(old.parent, name, group)
        if not problems and name == old.stem:
            problems = [f'It is called "{name}" already: give another name.']
        if problems:
            raise InputError(problems)
        new, rewrite = old.with_name(f"{name}{old.suffix}"), _rewriting(old, name)
        moves = [(path, path.with_name(name + path.name[len(old.stem) :])) for path in group]
        with _moved(moves):
            if rewrite:
                rewrite(new)
        return self._changed(new)

    def delete(self, key: str) -> Deleted:
        """Move it, with what belongs to it, into the folder of what is deleted."""
        path = self.path(key)
        now = datetime.now()
        deleted = Deleted(f"{now:%Y%m%d-%H%M%S-%f}", key, f"{now:%Y-%m-%d %H:%M:%S}")
        place = self.bin / deleted.id / _FILES
        try:
            place.mkdir(parents=True)
        except OSError as error:
            raise HostError(f'"{self.bin}" could not be made ({error.strerror}): nothing was deleted.') from error
        run_folder.write_json(place.parent / _RECORD, {"key": key, "when": deleted.when})
        with _moved([(one, place / one.name) for one in self._group(path)]):
            pass
        return self._changed(deleted)

    def deleted(self) -> list[Deleted]:
        """What can be brought back, the last first."""
        records = sorted(self.bin.glob(f"*/{_RECORD}"), reverse=True) if self.bin.is_dir() else []
        return [found for found in map(_deleted, records) if found]

    def restore(self, id: str) -> Path:  # noqa: A002 (the word for it)
        """Bring back what was deleted. Refused where something of that name is there by now. Returns its path."""
        found = next((one for one in self.deleted() if one.id == id), None)
        if found is None:
            raise InputError("This is not among what was deleted any more: look at the list anew.")
        place, path = self.bin / found.id, self.folder / found.key
        moves = [(one, path.parent / one.name) for one in sorted((place / _FILES).glob("*"))]
        there = [target.name for _, target in moves if target.exists()]
        if there:
            raise InputError(f"{', '.join(there)} is there by now: rename or delete that first.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with _moved(moves):
            pass
        shutil.rmtree(place)
        return self._changed(path)

    def bring_back(self, backup: Path, name: str) -> Path:
        """Put a copy of what a run has replaced, a pair of `RunFolder.replaced`, back into its place.

        What has the word now is deleted first, and can be restored. Returns the path.
        """
        try:
            data = backup.read_bytes()
        except OSError as error:
            raise HostError(f'"{backup}" cannot be read ({error.strerror}): nothing was changed.') from error
        target = self.folder / name
        for path in [one for one in self._files() if one.parent == self.folder]:
            if path.stem.lower() == target.stem.lower():
                self.delete(self._key(path))
        make_folder(self.folder)
        with atomic_write(target) as file:
            file.write(data)
        return self._changed(target)

    def _files(self) -> Iterator[Path]:
        """Every file that could be an embedding, in the folder and below; no folder twice, whatever links there are."""
        seen: set[str] = set()
        for root, folders, names in os.walk(self.folder, followlinks=True):
            real = os.path.realpath(root)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            for name in names:
                path = Path(root, name)
                if path.suffix.lower() in run_folder.EMBEDDING_SUFFIXES and not path.stem.lower().endswith(".preview"):
                    yield path

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _item(self, path: Path) -> Item | None:
        """What a file is, read anew when it has changed."""
        try:
            seen = path.stat()
        except OSError:
            return None  # it went away, or is a link to nothing
        stamp = (seen.st_mtime_ns, seen.st_size)
        if self._known.get(path, (None,))[0] != stamp:
            self._known[path] = (stamp, self._read(path))
        return self._known[path][1]

    def _read(self, path: Path) -> Item | None:
        key = self._key(path)
        try:
            first = next(iter(read_all(path).values()))
        except (TinvError, OSError) as error:
            plain = path.suffix.lower() in run_folder.PLAIN_SUFFIXES
            return Item(key, path.stem, problem=str(error).removeprefix(f"{path}: ")) if plain else None
        return Item(key, path.stem, first.family, first.count, first.step)

    def _group(self, path: Path) -> list[Path]:
        """The file and what belongs to it; that stays where another embedding of the same word remains."""
        if any(other.stem == path.stem for other in self._embeddings(path.parent) if other != path):
            return [path]
        return [path, *self._beside(path.parent, path.stem, path)]

    def _beside(self, folder: Path, stem: str, but: Path) -> list[Path]:
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
        """Those of one folder; `<name>.png` may be one, or the picture of a card."""
        return [path for path in self._files() if path.parent == folder and self._item(path)]

    def _taken(self, folder: Path, name: str, own: Sequence[Path]) -> list[str]:
        """A sentence if a file of the folder goes by this name already, in capitals or not."""
        there = [path for path in self._beside(folder, name, folder) if path not in own]
        there += [path for path in self._embeddings(folder) if path.stem.lower() == name.lower() and path not in own]
        return [f'"{there[0].name}" is there already: choose another name.'] if there else []

    def _changed(self, result: Result) -> Result:
        """Have the host read the folder again; one without a model it can use reads it by itself, later."""
        if self._host:
            with suppress(TinvError):
                self._host().refresh_embeddings()
        return result


def _deleted(record: Path) -> Deleted | None:
    """What a record says; None when it is none, or names a place outside of the folder."""
    try:
        said = json.loads(record.read_text("utf-8"))
        key, when = said["key"], said["when"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    path = Path(str(key))
    return None if path.is_absolute() or ".." in path.parts else Deleted(record.parent.name, str(key), str(when))


def _rewriting(path: Path, name: str) -> Callable[[Path], None] | None:
    """What puts `name` into a file that holds its own; None for one that goes by its file's name alone."""
    try:
        contents = read_contents(path)
    except TinvError as error:
        raise InputError(str(error)) from error
    if len(contents.embeddings) != 1 or contents.embeddings[0].label is None:
        return None
    embedding, notices = convert.open_embedding(path)
    chosen = _format(contents)
    if chosen is None or notices:
        raise InputError(
            f"{path.name} holds its word inside in a form that is not written here ({contents.layout}, "
            f"{contents.container}): convert it first."
        )
    named = replace(embedding, name=name)
    if chosen != "png":
        return lambda target: write_embedding(named, target, format=chosen)
    picture, texts = carried_picture(path)
    return lambda target: save_png_with_embedding(picture, named, target, text=texts)


def _format(contents: Contents) -> str | None:
    """The format in which what was read is written again."""
    if contents.container.startswith("picture"):
        return "png"
    if contents.layout == "diffusers":
        return "diffusers" if contents.container == "safetensors" else "diffusers-bin"
    if contents.layout.startswith("by encoder"):
        return (
            "safetensors" if contents.container == "safetensors" and len(contents.embeddings[0].vectors) > 1 else None
        )
    return _REWRITTEN.get(contents.layout)


@contextmanager
def _moved(moves: Sequence[tuple[Path, Path]]) -> Iterator[None]:
    """Move each file to its new place; if that fails, or what is done inside, every one is moved back."""
    done: list[tuple[Path, Path]] = []
    try:
        for old, new in moves:
            shutil.move(str(old), str(new))
            done.append((old, new))
        yield
    except BaseException as error:
        for old, new in reversed(done):
            shutil.move(str(new), str(old))
        if isinstance(error, OSError):
            raise HostError(f"A file could not be moved ({error.strerror or error}): all is as it was.") from error
        raise
