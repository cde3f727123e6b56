"""Images that show next to nothing: a blank page, a frame of a film that had faded out."""

from __future__ import annotations

import numpy as np
from PIL import Image

NEARLY_EMPTY = 0.01
"""An image of which a smaller share differs from its main colour counts as nearly empty."""
_NEAR = 16  # levels of 255
_SIDE = 256  # pixels of the longer side that is looked at


def shown(image: Image.Image) -> float:
    """The share of an RGB image that differs from its main colour."""
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float32).reshape(-1, 3)
    return float((np.abs(pixels - np.median(pixels, axis=0)).max(axis=1) > _NEAR).mean())
