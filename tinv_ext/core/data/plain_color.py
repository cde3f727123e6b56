"""The colour of an image's plain background, by the plainest of its names: what a prompt can say of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinv_ext.core.data.image_bounds import alpha_of, has_alpha, to_rgb

_SIDE = 32  # pixels along each side of what is looked at
_DEEP = 2  # pixels from the edge that are the border
_SHARE = 0.6  # of the border that has one colour: a portrait's shoulders reach it
_SMOOTH = 10.0  # of 255, in the mean from pixel to pixel: more than that is a pattern, as of grass or of bricks
_HUES = {"red": 15, "orange": 45, "yellow": 68, "green": 165, "turquoise": 195, "blue": 255, "purple": 305, "pink": 345}
"""Up to which angle of the colour wheel, in degrees, a full colour has the name; what is beyond the last is red."""


def plain_color(image: Image.Image) -> str:
    """The name of the colour at an image's border where that is plain, else "". What is transparent counts as white."""
    if image.mode not in ("RGB", "L") or has_alpha(image):  # else it is shrunk as it is: a large copy takes time
        image = to_rgb(image, alpha_of(image) if has_alpha(image) else None)
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BOX).convert("RGB")
    sides = [_side(np.asarray(turned)) for turned in _turned(small)]
    if np.mean([np.abs(np.diff(side.astype(np.float64), axis=1)).mean() for side in sides]) > _SMOOTH:
        return ""
    found = np.concatenate([_names(_side(np.asarray(turned.convert("HSV")))) for turned in _turned(small)])
    names, counts = np.unique(found, return_counts=True)
    most = int(counts.argmax())
    return str(names[most]) if counts[most] >= _SHARE * len(found) else ""


def on_background(color: str) -> str:
    """What a prompt says of a background of this colour; "" of one that has no name."""
    if not color:
        return ""
    return f"on {'an' if color[0] in 'aeiou' else 'a'} {color} background"


def _turned(image: Image.Image) -> list[Image.Image]:
    """The image with each of its sides on top."""
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return [image, *(image.transpose(turn) for turn in turns)]


def _side(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The border at the top."""
    return pixels[:_DEEP]


def _names(colors: NDArray[np.uint8]) -> NDArray[np.str_]:
    """Of each pixel (h, w, 3) of an image in Pillow's HSV, 0 … 255, the name of its colour."""
    hue, full, bright = colors.reshape(-1, 3).astype(np.float64).T
    hue, full, bright = hue * 360 / 255, full / 255, bright / 255
    red = (hue < 15) | (hue >= 345)
    rules = [
        (bright < 0.2, "black"),
        ((full < 0.12) & (bright >= 0.82), "white"),
        (full < 0.12, "gray"),
        ((hue >= 15) & (hue < 52) & (full < 0.4) & (bright >= 0.65), "beige"),
        (((hue < 45) | red) & (bright < 0.6), "brown"),
        ((hue >= 15) & (hue < 45) & (full < 0.6) & (bright < 0.8), "brown"),
        (red & (full < 0.5) & (bright >= 0.7), "pink"),
        *((hue < edge, name) for name, edge in _HUES.items()),
    ]
    return np.select([rule for rule, _ in rules], [name for _, name in rules], "red")
