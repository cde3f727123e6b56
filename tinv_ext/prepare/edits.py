"""Changes by hand to the images of a folder: captions, turned images, images removed. All of it can be undone."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

from tinv_ext.core.data.caption_files import CaptionFiles, as_lines
from tinv_ext.core.data.decoding import Unusable, decode
from tinv_ext.core.data.image_folder import IMAGE_SUFFIXES
from tinv_ext.core.data.masks import BESIDE
from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import is_file
from tinv_ext.prepare.undo import Record, Undone, records

TURNS: Mapping[str, Image.Transpose] = {
    "left": Image.Transpose.ROTATE_90,
    "right": Image.Transpose.ROTATE_270,
    "flip": Image.Transpose.FLIP_LEFT_RIGHT,
    "flop": Image.Transpose.FLIP_TOP_BOTTOM,
}
"""How an image can be turned, by the word of the page."""
_SAVED: Mapping[str, tuple[str, Mapping[str, object]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {}),
}
_SAME_SUFFIX = {".jpeg": ".jpg", ".jfif": ".jpg", ".tiff": ".tif"}
_CAPTIONS, _TAGS = (".txt", ".caption"), (".tags",)  # a caption is not written as tags, a line for each
LONGEST_CAPTION = 20_000
"""Characters of a caption: far more than a prompt can hold."""


def image_in(folder: Path, name: str) -> Path:
    """The file that an image of a folder, or below it, is called by. `InputError` if there is none."""
    path = folder / name
    below = PurePosixPath(name)
    strange = "\0" in name or "\\" in name or ":" in name or below.is_absolute() or ".." in below.parts
    if not name or strange or not path.is_file():
        raise InputError(
            message(
                "prepare.no_such_image",
                'There is no image "{name}" in the folder any more. Reload the images.',
                name=name[:100],
            )
        )
    return path


def write_caption(folder: Path, name: str, text: str, suffix: str = "") -> str:
    """Save an image's caption in the file that has it, else in a new one beside it; without a text the file goes.

    `suffix` is that of caption files, if only those of one count. Returns the name of the file.
    """
    image, text = image_in(folder, name), as_lines(text.strip())
    if len(text) > LONGEST_CAPTION:
        raise InputError(
            message("prepare.caption_too_long", "A caption can have {most} characters.", most=LONGEST_CAPTION)
        )
    file = _caption_file(folder, image, suffix, (*_CAPTIONS, *(() if text else _TAGS)))
    record = Record.begin(folder, f"caption {name}")
    if text:
        record.write(file, f"{text}\n".encode("utf-8", "backslashreplace"))
    elif file.exists():
        record.remove(file)
    return file.name


def _caption_file(folder: Path, image: Path, suffix: str, endings: Sequence[str]) -> Path:
    """Where an image's caption is, in a file of one of the `endings`, or where a new one goes: not into a file that
    would be another image's, too, nor into a table."""
    source = CaptionFiles(folder, extension=suffix).of(image).source
    beside = image.parent / source
    ending = f".{suffix.strip().lstrip('.')}" if suffix.strip() else _CAPTIONS[0]
    if source and is_file(beside) and beside.suffix.lower() in (*endings, ending.lower()):
        return beside
    return image.with_name((image.name if shares_stem(image) else image.stem) + ending)


def shares_stem(image: Path) -> bool:
    """Whether another image has the same name with another suffix: what lies beside one would be of both."""
    suffixes = {spelled for suffix in IMAGE_SUFFIXES for spelled in (suffix, suffix.upper(), suffix.title())}
    others = (image.with_suffix(suffix) for suffix in suffixes - {image.suffix})
    # where a system does not tell cat.PNG from cat.png, both are this image
    return any(is_file(other) and not os.path.samefile(other, image) for other in others)


def turn(folder: Path, names: Sequence[str], how: str) -> None:
    """Turn images by a quarter ("left", "right") or mirror them ("flip", "flop"), with their masks.

    `InputError` if one cannot be written again as it is: then those before it are turned, and can be undone.
    """
    if how not in TURNS:
        raise InputError(
            message("prepare.no_turn", 'Images cannot be turned "{how}". Use {known:, }.', how=how, known=list(TURNS))
        )
    paths = [image_in(folder, name) for name in names]
    record = Record.begin(folder, f"{how} {', '.join(names[:3])}")
    for path in paths:
        record.write(path, _turned(path, TURNS[how]))
        mask = path.with_name(f"{path.stem}{BESIDE}.png")
        if is_file(mask):
            record.write(mask, _turned(mask, TURNS[how]))


def _turned(path: Path, how: Image.Transpose) -> bytes:
    """The file of an image that is turned, in the format of before, upright and in sRGB."""
    suffix = path.suffix.lower()
    saved = _SAVED.get(_SAME_SUFFIX.get(suffix, suffix))
    try:
        with path.open("rb") as file:
            decoded = decode(file)
    except OSError as error:
        raise HostError(
            message("prepare.unreadable", '"{file}" cannot be read ({reason}).', file=path.name, reason=error.strerror)
        ) from error
    except Unusable as unusable:
        raise InputError(
            message("images.file_reason", "{file} {reason}.", file=path.name, reason=unusable.reason)
        ) from unusable
    if saved is None or decoded.frames > 1:
        raise InputError(
            message(
                "prepare.cannot_turn",
                "{file} cannot be turned here, as it could not be saved as it is. Save it as PNG first.",
                file=path.name,
            )
        )
    kind, options = saved
    image = decoded.image.transpose(how)
    if kind == "JPEG" and image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def remove(folder: Path, names: Sequence[str]) -> None:
    """Remove images with their captions and masks. They are kept in the folder's record, and come back by undo."""
    paths = [image_in(folder, name) for name in names]
    record = Record.begin(folder, f"remove {', '.join(names[:3])}")
    for path in paths:
        for file in (*_belongings(path), path):
            record.remove(file)


def _belongings(image: Path) -> Iterator[Path]:
    """The files beside an image that are its own."""
    own = f"{image.name if shares_stem(image) else image.stem}.".lower()
    yield from (file for file in CaptionFiles(image.parent).beside(image) if file.name.lower().startswith(own))
    mask = image.with_name(f"{image.stem}{BESIDE}.png")
    if is_file(mask) and not shares_stem(image):
        yield mask


def last_edit(folder: Path) -> str:
    """What the last change by hand was; empty where there is none, or a preparation came after it."""
    found = records(folder)
    return found[0].edit if found else ""


_EDITS: Mapping[str, Callable[[str], Message]] = {
    "caption": lambda files: message("prepare.edit_caption", "The caption of {files} was changed", files=files),
    "mask": lambda files: message("prepare.edit_mask", "The mask of {files} was changed", files=files),
    "remove": lambda files: message("prepare.edit_remove", "Removed: {files}", files=files),
    **dict.fromkeys(TURNS, lambda files: message("prepare.edit_turn", "Turned: {files}", files=files)),
}
ALL_MASKED = "mask the backgrounds"


def edit_said(edit: str) -> Message | str:
    """What a change of `last_edit` was, as a sentence; one of a kind that is not known here as it is called."""
    if edit == ALL_MASKED:
        return message("prepare.edit_backgrounds", "The backgrounds were masked")
    kind, _, files = edit.partition(" ")
    return _EDITS[kind](files) if kind in _EDITS else edit


def undo_edit(folder: Path) -> Undone:
    """Undo the last change by hand. `InputError` where there is none."""
    found = records(folder)
    if not found or not found[0].edit:
        raise InputError(message("prepare.no_edit_to_undo", "There is no change to undo."))
    return found[0].undo()
