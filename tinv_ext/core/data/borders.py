"""What an image shows at its border, where the background usually is; and whether several images show the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinv_ext.core.data.image_bounds import alpha_of, has_alpha, to_rgb

_SIDE = 6  # fields along each side
_RING = [(y, x) for y in range(_SIDE) for x in range(_SIDE) if y in (0, _SIDE - 1) or x in (0, _SIDE - 1)]
_ALIKE = 20  # of 255, in the mean over the ring
_SHARE = 0.75  # of the images
FEWEST = 4  # images of which it can be said that they look alike by more than chance


def border_of(image: Image.Image) -> str:
    """The mean colours of the outer 20 of 6×6 fields, as hexadecimal digits; what is transparent counts as white."""
    if image.mode not in ("RGB", "L") or has_alpha(image):  # else it is shrunk as it is: a large copy takes time
        image = to_rgb(image, alpha_of(image) if has_alpha(image) else None)
    small = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX).convert("RGB"))
    return b"".join(small[place].tobytes() for place in _RING).hex()


def share_background(borders: Sequence[str], fewest: int = FEWEST) -> bool:
    """Whether at least three quarters of four or more images, or of `fewest`, look alike at their borders."""
    rings = [ring for border in borders if (ring := _ring(border)) is not None]
    if len(rings) < fewest:
        return False
    stack = np.stack(rings)
    away = np.abs(stack - np.median(stack, axis=0)).mean(axis=1)
    return bool((away <= _ALIKE).mean() >= _SHARE)


def shared_colors(borders: Sequence[str], colors: Sequence[str]) -> list[str]:
    """The `colors` of images (`plain_color`) that share one background, where most are plain; else none.

    How few they are does not matter: where their backgrounds are alike by chance, to say so does no harm.
    """
    plain = sum(map(bool, colors)) >= _SHARE * len(colors)
    return [*colors] if plain and share_background(borders, 1) else []


def _ring(border: str) -> NDArray[np.float64] | None:
    """The colours, or None where the text is none of `border_of`."""
    try:
        values = bytes.fromhex(border)
    except ValueError:
        return None
    return np.frombuffer(values, dtype=np.uint8).astype(np.float64) if len(values) == 3 * len(_RING) else None
