"""What runs have found out about image files, kept beside the latents, so that the next run need not open them again.

A file is known by its path and stays known while its size and time do. An index that cannot be read, or whose checksum
is wrong, knows nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from tinv_ext.core.atomic import atomic_write, make_folder
from tinv_ext.core.data.images import TrainingImage

NAME = "images.json"
_FORMAT = 4
_LARGEST = 1 << 28  # bytes of an index that is read: of a million images
_TYPES = {one.name: one.type for one in fields(TrainingImage) if one.name not in ("path", "remarks", "settled")}


def known_images(images: Iterable[TrainingImage]) -> dict[Path, TrainingImage]:
    """Scanned images by path, for the next scan."""
    return {image.path.absolute(): image for image in images}


def read_index(folder: Path) -> dict[Path, TrainingImage]:
    """What the index in a folder knows; nothing where it cannot be read."""
    try:
        with (folder / NAME).open("rb") as file:
            table = json.loads(file.read(_LARGEST).decode("utf-8", "surrogatepass"))
        entries = table["images"]
        if table["format"] != _FORMAT or table["checksum"] != _checksum(entries):
            return {}
        return {Path(path): _image(Path(path), entry) for path, entry in entries.items() if _is_whole(entry)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def write_index(folder: Path, images: Iterable[TrainingImage]) -> None:
    """Add images to the index in `folder`; those of the same image folder that are not among them are forgotten.

    Nothing is written where nothing is new. Raises as `atomic_write`.
    """
    new = {image.path.absolute(): image for image in images if image.settled}
    before, homes = read_index(folder), {path.parent for path in new}
    after = {path: image for path, image in before.items() if path.parent not in homes}
    after.update({path: _image(path, _entry(image)) for path, image in new.items()})
    if after == before:
        return
    entries = {str(path): _entry(image) for path, image in after.items()}
    table = {"format": _FORMAT, "checksum": _checksum(entries), "images": entries}
    make_folder(folder)
    with atomic_write(folder / NAME) as file:
        file.write(json.dumps(table, ensure_ascii=False, indent=0).encode("utf-8", "backslashreplace"))


def _checksum(entries: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode("ascii")).hexdigest()


def _entry(image: TrainingImage) -> dict[str, Any]:
    return {name: getattr(image, name) for name in _TYPES}


def _image(path: Path, entry: dict[str, Any]) -> TrainingImage:
    return TrainingImage(path, **{name: entry[name] for name in _TYPES}, settled=True)


def _is_whole(entry: Any) -> bool:
    return isinstance(entry, dict) and all(type(entry.get(name)).__name__ == kind for name, kind in _TYPES.items())
