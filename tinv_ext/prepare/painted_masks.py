"""Masks beside images, painted by hand or made of plain backgrounds: shown small, saved at the image's own size.

They are undone as any change by hand.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image

from tinv_ext.core.data.decoding import Unusable, decode
from tinv_ext.core.data.masks import BESIDE
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import MAX_PART, is_file
from tinv_ext.prepare.edits import ALL_MASKED, image_in, shares_stem
from tinv_ext.prepare.gallery import image_files
from tinv_ext.prepare.plain_background import mask_of
from tinv_ext.prepare.scan import on_white, upright
from tinv_ext.prepare.undo import Record

SIDE = 1024
"""Pixels of the longer side of what is painted on."""
LARGEST = 8 * 2**20
"""Bytes of a painted mask: far more than black and white of that size take."""
_WHITE = (255, 255)
_QUALITY = 90


def mask_beside(image: Path) -> Path | None:
    """The file of the mask that lies beside an image; None where there is none, or it may be another image's."""
    mask = _place(image)
    return mask if is_file(mask) and not shares_stem(image) else None


def place_of_new_mask(image: Path) -> Path | None:
    """Where a mask beside an image without one would be; None where there is one, or it would be another image's, too,
    or have too long a name."""
    place = _place(image)
    return None if is_file(place) or shares_stem(image) or not _has_room(image) else place


def canvas_of(image: Path) -> bytes:
    """An image to paint on, as a JPEG of at most `SIDE` pixels a side. `InputError` where it cannot be used."""
    small = on_white(_upright(image))
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return _saved(small, "JPEG", quality=_QUALITY)


def small_mask(image: Path) -> bytes | None:
    """The mask beside an image as a grey PNG of at most `SIDE` pixels a side; None where there is none."""
    mask = mask_beside(image)
    if mask is None:
        return None
    small = _grey(mask.read_bytes(), mask.name)
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return _saved(small, "PNG")


def paint(folder: Path, name: str, painted: bytes) -> bool:
    """Save a painted mask (a picture in any size, white: learnt, black: not) at the image's size; whether there is one.

    Nothing, or all white, is no mask: then the one that was there goes. `InputError` where the mask is not a picture,
    or would be another image's, too.
    """
    image = image_in(folder, name)
    if shares_stem(image):
        raise InputError(
            message(
                "prepare.mask_of_two",
                '"{name}" shares its name with another image: a mask beside it would belong to both. Rename one.',
                name=name,
            )
        )
    if not _has_room(image):
        raise InputError(
            message(
                "prepare.mask_name_too_long",
                'The name of "{name}" is too long for a mask beside it, which has {ending} at its end. Shorten it.',
                name=name,
                ending=f"{BESIDE}.png",
            )
        )
    if len(painted) > LARGEST:
        raise InputError(message("prepare.mask_too_large", "A painted mask can have {most} bytes.", most=LARGEST))
    mask = _grey(painted, name) if painted else None
    place, record = _place(image), Record.begin(folder, f"mask {name}")
    if mask is None or mask.getextrema() == _WHITE:
        if is_file(place):
            record.remove(place)
        return False
    record.write(place, _saved(mask.resize(_upright(image).size, Image.Resampling.BILINEAR), "PNG"))
    return True


def without_background(image: Path) -> bytes:
    """A mask that leaves out the plain background of an image, as a grey PNG of at most `SIDE` pixels a side.

    `InputError` where it has none.
    """
    mask = mask_of(_upright(image))
    if mask is None:
        raise InputError(_no_background(1))
    mask.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return _saved(mask, "PNG")


def mask_backgrounds(folder: Path, recursive: bool = False) -> int:
    """Write a mask that leaves out the plain background for each image of a folder that has none yet; how many it was.

    `InputError` where no background is found. Files that are no images are passed over, as are those whose mask would
    be another image's, too, or have too long a name.
    """
    masks: dict[Path, bytes] = {}
    images = [path for path in image_files(folder, recursive) if not path.stem.endswith(BESIDE)]
    for image in images:
        place = place_of_new_mask(image)
        if place is None:
            continue
        try:
            mask = mask_of(upright(image)[0])
        except Unusable:
            continue
        if mask is not None:
            masks[place] = _saved(mask, "PNG")
    if not masks:
        raise InputError(_no_background(len(images)))
    record = Record.begin(folder, ALL_MASKED)
    for place, mask_bytes in masks.items():
        record.write(place, mask_bytes)
    return len(masks)


def _no_background(count: int) -> Message:
    return message(
        "prepare.no_plain_background",
        "No plain background was found in {count:this image|these images}: what reaches the border has many colors, or "
        "nothing stands out from it. Paint masks by hand, or say in captions what is behind.",
        count=count,
    )


def _place(image: Path) -> Path:
    return image.with_name(f"{image.stem}{BESIDE}.png")


def _has_room(image: Path) -> bool:
    """Whether a mask beside the image can be called after it."""
    return len(os.fsencode(_place(image).name)) <= MAX_PART


def _upright(image: Path) -> Image.Image:
    try:
        return upright(image)[0]
    except Unusable as unusable:
        raise InputError(
            message("images.file_reason", "{file} {reason}.", file=image.name, reason=unusable.reason)
        ) from unusable


def _grey(data: bytes, name: str) -> Image.Image:
    try:
        return on_white(decode(io.BytesIO(data)).image.convert("RGBA")).convert("L")
    except Unusable as unusable:
        raise InputError(
            message("masks.unusable", 'The mask "{file}" {reason}.', file=name, reason=unusable.reason)
        ) from unusable


def _saved(image: Image.Image, kind: str, **options: int) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()
