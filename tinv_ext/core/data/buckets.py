"""Buckets: sizes of many shapes with about as many pixels. Each image is brought to the one nearest to its shape.

As kohya's trainers do it (sd-scripts library/model_util.py, make_bucket_resolutions), which took it from NovelAI.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Size = tuple[int, int]  # width, height in pixels
_LONGEST = 2.0  # a side is at most this many times the square root of the area, and at least its inverse


def bucket_sizes(width: int, height: int, step: int, least: int = 0, most: int = 0) -> tuple[Size, ...]:
    """All sizes of at most width × height pixels whose sides are multiples of `step`, from tall to wide.

    For each width it is the largest height, and the other way round; width × height itself is always one of them.
    No side is shorter than `least` or longer than `most` pixels, where these are given.
    """
    area = width * height
    root = math.sqrt(area)
    shortest, longest = math.ceil((least or root / _LONGEST) / step), int((most or root * _LONGEST) / step)
    found = {(width, height)}
    for units in range(shortest, longest + 1):
        other = min(area // (units * step * step), longest)
        if other >= shortest:
            found |= {(units * step, other * step), (other * step, units * step)}
    return tuple(sorted(found, key=lambda size: (size[0] / size[1], size)))


def nearest(width: int, height: int, sizes: Sequence[Size]) -> Size:
    """The size whose shape is nearest to the image's; of equal shapes, the largest."""
    if len(sizes) == 1:
        return sizes[0]
    shape = math.log(width / height)
    return min(sizes, key=lambda size: (round(abs(math.log(size[0] / size[1]) - shape), 9), -size[0] * size[1]))


def own_size(width: int, height: int, step: int, longest: int) -> Size:
    """The largest size in whole `step`s that fits into an image; one step where a side has less.

    An image with a side longer than `longest` is first made smaller.
    """
    times = min(1.0, longest / max(width, height)) if longest else 1.0
    wide, high = (max(step, int(side * times + 1e-6) // step * step) for side in (width, height))
    return wide, high
