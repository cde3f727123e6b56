"""What keeps an odd file from taking time or memory: its head comes first, its pixels are converted in strips."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_LARGEST_WHOLE = 1 << 27  # bytes of an AVIF or WebP, which Pillow reads at once
_STRIP = 256  # rows converted at a time
_BACKGROUND = (255, 255, 255, 255)


def may_be_image(path: Path, head: bytes, size: int) -> bool:
    """Whether the suffix or the head is an image's: Pillow itself tries far more, and slowly.

    Not a very large file of those that Pillow reads whole before it looks at them.
    """
    if size > _LARGEST_WHOLE and (head[4:8] == b"ftyp" or head[:4] == b"RIFF"):
        return False
    return path.suffix.lower() in Image.registered_extensions() or any(map(partial(_accepts, head), Image.ID))


def _accepts(head: bytes, image_format: str) -> bool:
    accept = Image.OPEN[image_format][1]
    try:
        return bool(accept and accept(head))
    except (SyntaxError, IndexError, TypeError, struct.error):  # as Image.open has it
        return False


def has_alpha(image: Image.Image) -> bool:
    """Whether some of it may be transparent."""
    return image.getbands()[-1] in ("A", "a") or "transparency" in image.info


def alpha_of(image: Image.Image) -> Image.Image:
    """The alpha channel of an image that has transparency."""
    return image.getchannel("A") if image.mode == "RGBA" else image.convert("RGBA").getchannel("A")


def to_rgb(image: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """As RGB on white, in strips: a few kilobytes can be an image of ninety million pixels, and each copy is large."""
    if image.mode.startswith(("I", "F")):
        full = _full_scale(image)
        return _in_strips(image, lambda strip: _from_deep_grey(strip, full))
    if alpha is None:
        return image.convert("RGB")
    return _in_strips(image, _on_white)


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    converted = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP):
        converted.paste(convert(_strip(image, top)), (0, top))
    return converted


def _strip(image: Image.Image, top: int) -> Image.Image:
    strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
    strip.info = image.info  # which says what is transparent
    return strip


def _on_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), image.convert("RGBA")).convert("RGB")


def _full_scale(image: Image.Image) -> float:
    """What stands for white in an image of deep grey, which its file does not say.

    Programs write 0 to 255 into 32 bits, too: of an image of 16 bits, that would be a black one.
    """
    strips = (_numbers(_strip(image, top)) for top in range(0, image.height, _STRIP))
    greatest = max(strip.max(initial=0, where=np.isfinite(strip)) for strip in strips)
    if image.mode.startswith("I"):
        return 65535.0 if greatest > 255 else 255.0
    return 1.0 if greatest <= 1 else 255.0


def _numbers(image: Image.Image) -> NDArray[np.float64]:
    """The numbers of an image; NaN counts as black."""
    numbers = np.asarray(image).astype(np.float64)
    return np.where(np.isnan(numbers), 0.0, numbers)


def _from_deep_grey(image: Image.Image, full: float) -> Image.Image:
    """16-bit or floating-point grey to 8-bit RGB; Pillow's own conversion would clip at 255."""
    grey = (np.clip(_numbers(image) / full, 0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
