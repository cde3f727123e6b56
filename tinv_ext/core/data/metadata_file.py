"""kohya's metadata of images: captions and tags of each, as JSON or JSONL (sd-scripts docs/fine_tune.md, `--in_json`).

    {"a.png": {"caption": "a cat\\na sitting cat", "tags": "cat, indoors"}, ...}
    {"image_path": "a.png", "caption": "a cat"}            a line each in JSONL

An image is called by its path, absolute or below the folder of images, or by its name without suffix.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tinv_ext.core.data.caption_files import as_lines, json_lines, whole_characters
from tinv_ext.core.data.captions import read_text
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message


@dataclass(frozen=True)
class Metadata:
    """Captions by what an image is called in a file, one a line of each text."""

    file: Path
    captions: Mapping[str, str]

    @property
    def folder(self) -> Path | None:
        """The folder that holds all images, where each is called by its absolute path."""
        paths = [Path(name) for name in self.captions]
        if not paths or not all(path.is_absolute() for path in paths):
            return None
        return Path(os.path.commonpath([path.parent for path in paths]))

    @property
    def below(self) -> bool:
        """Whether some images are called as in a folder below."""
        return any("/" in name for name in self.captions if not Path(name).is_absolute())

    def key(self, image: Path, folder: Path) -> str | None:
        """What an image is called; None where the file does not have it."""
        inside = PurePosixPath(image.relative_to(folder).as_posix())
        names = (str(inside), str(inside.with_suffix("")), image.absolute().as_posix(), image.name, image.stem)
        return next((name for name in names if name in self.captions), None)


def read_metadata(path: Path, separator: str = "") -> Metadata:
    """What a file says, tags after the caption and a `separator`. `InputError` if it cannot be used."""
    text = read_text(path)
    try:
        captions = dict(_entries(path, text, separator or ", "))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            message(
                "captions.metadata_unreadable",
                'The metadata file "{file}" cannot be used: {reason}',
                file=path,
                reason=str(error) or type(error).__name__,
            )
        ) from error
    if not captions:
        raise InputError(message("captions.metadata_empty", 'The metadata file "{file}" names no image.', file=path))
    return Metadata(path, captions)


def _entries(path: Path, text: str, separator: str) -> Iterator[tuple[str, str]]:
    if path.suffix.lower() == ".jsonl":
        rows = json_lines(text)
        named = [(row.get("image_path", row.get("file_name")), row) for row in rows if isinstance(row, dict)]
    else:
        table = json.loads(text)
        named = list(table.items()) if isinstance(table, dict) else []
    for name, entry in named:
        if not isinstance(name, str) or not isinstance(entry, dict):
            raise ValueError(f"{name!r} is no image with a caption")
        yield name.replace("\\", "/").removeprefix("./"), _caption(entry, separator)


def _caption(entry: Mapping[str, Any], separator: str) -> str:
    """A caption with its tags at the end of each line."""
    caption, tags = entry.get("caption", entry.get("text")) or "", entry.get("tags") or ""
    if not isinstance(caption, str) or not isinstance(tags, str):
        raise ValueError("captions and tags must be texts")
    tags = " ".join(whole_characters(tags).split())
    lines = as_lines(caption).split("\n")
    return "\n".join(separator.join(part for part in (line, tags) if part) for line in lines)
