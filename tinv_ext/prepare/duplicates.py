"""Images that show the same, whatever their size and compression, by a perceptual hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST_BITS = 10
"""Bits of 64 in which the hashes of two images that show the same may differ."""
MOST_COLOR = 12.0
"""Levels of 255 by which their colours may differ on average, in 8 × 8 fields."""
_SIDE, _KEPT, _FIELDS = 32, 8, 8


@dataclass(frozen=True)
class Fingerprint:
    """What is compared of an image: 64 bits of its shapes, and its colours (8, 8, 3) from 0 to 255."""

    bits: NDArray[np.bool_]
    colors: NDArray[np.float32]


def fingerprint(image: Image.Image) -> Fingerprint:
    """The perceptual hash of an RGB image: the signs of its 64 lowest frequencies around their median.

    Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions", section 3.2: discrete cosine
    transform of the image in grey at 32 × 32 pixels. As it knows no colours, those are kept beside it.
    """
    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float64)
    waves = _cosines()
    low = (waves @ grey @ waves.T)[1 : _KEPT + 1, 1 : _KEPT + 1]
    colors = np.asarray(image.resize((_FIELDS, _FIELDS), Image.Resampling.BOX), dtype=np.float32)
    return Fingerprint((low > np.median(low)).ravel(), colors)


def duplicates(prints: Sequence[Fingerprint], order: Sequence[int]) -> dict[int, int]:
    """For each image that shows the same as another: which one. Of such images the first in `order` has no entry."""
    if not prints:
        return {}
    bits, colors = np.stack([one.bits for one in prints]), np.stack([one.colors for one in prints])
    kept: list[int] = []
    found: dict[int, int] = {}
    for index in order:
        before = np.array(kept, dtype=np.int64)
        near = before[(bits[before] != bits[index]).sum(1) <= MOST_BITS] if kept else before
        same = near[np.abs(colors[near] - colors[index]).mean((1, 2, 3)) <= MOST_COLOR]
        if len(same):
            found[index] = int(same[0])
        else:
            kept.append(index)
    return found


def _cosines() -> NDArray[np.float64]:
    """The lowest rows of the discrete cosine transform (type II) of `_SIDE` numbers."""
    frequencies, places = np.arange(_KEPT + 1)[:, None], np.arange(_SIDE)[None, :]
    return np.asarray(np.cos(np.pi * frequencies * (2 * places + 1) / (2 * _SIDE)))
