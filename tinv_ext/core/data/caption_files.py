"""Which files hold the captions of images: a text next to each image, or one table for a folder.

Read are, in this order, `a.txt`, `a.caption` (kohya), `a.tags`, `a.png.txt` and so on, whatever the case of their
letters, and `metadata.jsonl` or `metadata.csv` (Hugging Face's imagefolder). Several lines are several captions; a line
that ends with a comma goes on in the next. In `a.tags` each line is a tag, or has several.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinv_ext.core.data.captions import COMMAS, read_text, words_of_name
from tinv_ext.core.data.image_folder import IMAGE_SUFFIXES
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message

_TAGS = ".tags"
SUFFIXES = (".txt", ".caption", _TAGS)
TABLES = ("metadata.jsonl", "metadata.csv")
NAMING = ("file_name", "image_path", "image", "filename", "file", "path")
"""Columns of a table that can name an image: Hugging Face's, kohya's, and what people call it."""
_COLUMNS = ("text", "caption", "captions", "prompt")
_GOES_ON = re.compile(rf"({COMMAS})[ \t]*[\r\n]+")


@dataclass(frozen=True)
class ImageCaption:
    """An image's captions, one a line; the file that has them ("" where there is none), and files that
    say something else."""

    text: str
    source: str = ""
    others: tuple[str, ...] = ()


@dataclass
class CaptionFiles:
    """The captions of the images in a folder and below it. Each folder is listed once.

    `class_tokens` are the caption of an image that has none; without them, it is the words of its name. With an
    `extension`, such as ".txt", only files that end with it are captions; tables count all the same.
    """

    folder: Path
    regex: str = ""
    join: str = " "
    class_tokens: str = ""
    extension: str = ""
    problems: list[Message] = field(default_factory=list)  # of tables
    _listed: dict[Path, dict[str, list[Path]]] = field(default_factory=dict)
    _images: dict[Path, set[str]] = field(default_factory=dict)  # names of images, and their stems
    _tables: dict[Path, Mapping[str, str]] = field(default_factory=dict)
    _in_any_case: dict[Path, Mapping[str, str]] = field(default_factory=dict)

    def of(self, image: Path) -> ImageCaption:
        """The captions of an image. `InputError` if a text file next to it cannot be read."""
        sources = [(path.name, _text_of(path)) for path in self.beside(image)]
        sources += [(path.name, text) for path, text in self.in_tables(image)]
        if not sources:
            return ImageCaption(self.class_tokens or words_of_name(image.stem, self.regex, self.join))
        (source, caption), *rest = sources
        return ImageCaption(caption, source, tuple(name for name, text in rest if text != caption))

    @property
    def _suffixes(self) -> tuple[str, ...]:
        return (f".{self.extension.strip().lower().lstrip('.')}",) if self.extension.strip() else SUFFIXES

    def beside(self, image: Path) -> Iterator[Path]:
        """The texts next to an image: those of its own name, or where there are none, in other letter case, as Windows
        takes it: but not those of another image, which are so called."""
        files, images = self._files(image.parent), self._images[image.parent]
        for stem in dict.fromkeys((image.stem, image.name)):
            for suffix in self._suffixes:
                paths = [path for path in files.get(f"{stem}{suffix}".lower(), []) if path != image]
                own = [path for path in paths if path.name[: len(stem)] == stem]
                yield from own or (path for path in paths if path.name[: len(stem)] not in images)

    def _files(self, folder: Path) -> dict[str, list[Path]]:
        """Texts and tables of a folder by their names in small letters."""
        if folder not in self._listed:
            files, images = self._listed.setdefault(folder, {}), self._images.setdefault(folder, set())
            for path in sorted(folder.iterdir(), reverse=True):  # a.txt before a.TXT
                name = path.name.lower()
                if (name.endswith(self._suffixes) or name in TABLES) and path.is_file():
                    files.setdefault(name, []).append(path)
                elif name.endswith(IMAGE_SUFFIXES):
                    images |= {path.name, path.stem}
        return self._listed[folder]

    def in_tables(self, image: Path) -> Iterator[tuple[Path, str]]:
        """The captions of an image in tables, each with the table."""
        for folder in dict.fromkeys((image.parent, self.folder)):
            if folder not in image.parents:
                continue
            for path in (path for name in TABLES for path in self._files(folder).get(name, ())):
                inside = image.relative_to(folder).as_posix()
                text = self._table(path).get(inside, self._folded(path).get(inside.casefold()))
                if text is not None:
                    yield path, text

    def _folded(self, path: Path) -> Mapping[str, str]:
        """A table by names without regard to case, without those of which it has several then."""
        if path not in self._in_any_case:
            counts = Counter(name.casefold() for name in self._table(path))
            named = {name.casefold(): text for name, text in self._table(path).items()}
            self._in_any_case[path] = {name: text for name, text in named.items() if counts[name] == 1}
        return self._in_any_case[path]

    def _table(self, path: Path) -> Mapping[str, str]:
        """Captions by image of a table; empty, and a problem, where it cannot be read."""
        if path not in self._tables:
            try:
                text = read_text(path)
                rows = json_lines(text) if path.suffix.lower() == ".jsonl" else _csv_rows(text)
                self._tables[path] = dict(row for row in map(_captioned, rows) if row)
            except (InputError, ValueError, TypeError, csv.Error, RecursionError) as error:
                self._tables[path] = {}
                reason = error.problems[0] if isinstance(error, InputError) else str(error)
                self.problems.append(
                    message(
                        "captions.table_unreadable",
                        'The captions in "{file}" cannot be used: {reason}',
                        file=path.name,
                        reason=reason,
                    )
                )
        return self._tables[path]


def _text_of(path: Path) -> str:
    """The captions in a file, one a line."""
    lines = as_lines(read_text(path))
    if not path.name.lower().endswith(_TAGS):
        return lines
    return ", ".join(line.rstrip(" ,") for line in lines.split("\n") if line.rstrip(" ,"))


def as_lines(text: str) -> str:
    """The captions of a text, one a line, with single blanks."""
    lines = (" ".join(line.split()) for line in re.split(r"[\r\n]", _GOES_ON.sub(r"\1 ", whole_characters(text))))
    return "\n".join(line for line in lines if line)


def whole_characters(text: str) -> str:
    """A text that is to be tokenized: half a character, which JSON can hold and no tokenizer takes, is left out, as is
    NUL."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore").replace("\0", "")


def json_lines(text: str) -> list[Any]:
    """The values of JSON lines, whichever way they end. ValueError names the line that is none."""
    values = []
    for number, line in enumerate(re.split(r"\r\n?|\n", text), 1):
        try:
            values += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(f"{error.msg} (line {number}, column {error.colno})") from None
    return values


def _csv_rows(text: str) -> Iterator[dict[str | Any, str | Any]]:
    """The rows of a table, whatever ends them and parts its columns: commas, or what Excel takes where commas are
    decimal points."""
    text = re.sub(r"\r\n?", "\n", text)
    head = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=head.count)  # the comma where there is none
    return csv.DictReader(io.StringIO(text), delimiter=separator)


def _captioned(row: Any) -> tuple[str, str] | None:
    """Image and captions of a table's row, if it has both."""
    if not isinstance(row, dict):
        return None
    row = {str(column).strip().lower(): value for column, value in row.items()}
    named = next((column for column in NAMING if isinstance(row.get(column), str)), None)
    if named is None:
        return None
    texts = next((row[column] for column in _COLUMNS if row.get(column) is not None), None)
    others = [value for column, value in row.items() if column != named and isinstance(value, str)]
    if texts is None and len(others) == 1:  # as "additional_feature" in Hugging Face's manual
        texts = others[0]
    texts = texts if isinstance(texts, list) else [texts]
    if not texts or not all(isinstance(text, str) for text in texts):
        return None
    return row[named].strip().replace("\\", "/").removeprefix("./"), as_lines("\n".join(texts))
