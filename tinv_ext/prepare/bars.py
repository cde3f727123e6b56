"""Letterbox bars: strips of one colour at two opposite sides of an image, which would be learned as part of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
_NEAR = 16  # levels of 255 by which a pixel of a bar may differ from its colour: what compression leaves
_STRAY = 0.02  # share of a bar's pixels that may differ more
_EDGE = 0.7  # share of the pixels next to a bar that must differ: a subject before a plain background has fewer
_BLOCK = 18  # rows within which they do: the blocks of 16 that JPEG mixes where it halves the colours' resolution
_THINNEST = 0.01  # of the side
_LEAST_LEFT = 0.2  # of the side: below that it is no bar but the image
_BLENDED = 2  # rows next to a bar that scaling has mixed with it


def without_bars(image: Image.Image) -> Box | None:
    """The part of an RGB image between letterbox bars, above and below or left and right or both; None without bars."""
    pixels = np.asarray(image)
    top, bottom = _between(pixels)
    left, right = _between(pixels[top:bottom].transpose(1, 0, 2))
    box = (left, top, right, bottom)
    return None if box == (0, 0, image.width, image.height) else box


def _between(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    """The first row after the bar above and the row where the bar below begins; all rows where there are not both."""
    count = len(pixels)
    color = np.median(pixels[0], axis=0)
    if count < 3 or np.abs(np.median(pixels[-1], axis=0) - color).max() > _NEAR:
        return 0, count
    above, below = _bar(pixels, color), _bar(pixels[::-1], color)
    start, end = above + _BLENDED, count - below - _BLENDED
    thin = min(above, below) < max(2, _THINNEST * count)
    return (0, count) if thin or end - start < _LEAST_LEFT * count else (start, end)


def _bar(pixels: NDArray[np.uint8], color: NDArray[np.float64]) -> int:
    """How many rows from the first on are a bar of the colour, with an edge where it ends; 0 without one."""
    ends = next((index for index, row in enumerate(pixels) if _differing(row, color) > _STRAY), len(pixels))
    rows = range(ends, min(ends + _BLOCK, len(pixels))) if ends else ()
    return next((index for index in rows if _differing(pixels[index], color) >= _EDGE), 0)


def _differing(row: NDArray[np.uint8], color: NDArray[np.float64]) -> float:
    return float((np.abs(row - color).max(axis=-1) > _NEAR).mean())
