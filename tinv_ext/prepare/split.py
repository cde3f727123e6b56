"""Where an image that is far longer than the target's shape is cut into pieces that overlap."""

from __future__ import annotations

import math
from fractions import Fraction

from tinv_ext.core.data.image_fit import Fit


def places(width: int, height: int, fit: Fit, threshold: float, overlap: float) -> tuple[Fraction, ...]:
    """`Fit.place` of each piece, from left to right or top to bottom; none of an image that is not oversized.

    Oversized is one whose shape is at most `threshold` of the target's (v1.10.1 postprocessing_split_oversized.py). It
    is cut into as few pieces as cover it with neighbours that share at least `overlap` of their length; they are spread
    evenly, so that the last one ends where the image does. Both numbers count as they are written: 0.9 is nine tenths.
    """
    most, shared = (Fraction(str(float(number))) for number in (threshold, overlap))
    across, down = width * fit.height, height * fit.width
    if across == down or Fraction(min(across, down), max(across, down)) > most:
        return ()
    scaled = fit.scaled(width, height)
    length, piece = (scaled[0], fit.width) if across > down else (scaled[1], fit.height)
    if length <= piece:
        return ()
    count = max(2, math.ceil((length - piece * shared) / (piece * (1 - shared))))
    return tuple(Fraction(index, count - 1) for index in range(count))
