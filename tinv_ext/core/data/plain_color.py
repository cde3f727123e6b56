"""The colour of an image's plain background, by the plainest of its names: what a prompt can say of it."""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import Image

from tinv_ext.core.data.image_bounds import alpha_of, has_alpha, to_rgb

_SIDE = 32  # pixels along each side of what is looked at
_DEEP = 2  # pixels from the edge that are the border
_SHARE = 0.6  # of the border that lies near one colour: a portrait's shoulders reach it
_NEAR = 30.0  # of 255: how far from it, as light falls off towards the corners of a white wall
_SMOOTH = 10.0  # of 255, in the mean from pixel to pixel: more than that is a pattern, as of grass or of bricks
_HUES = {"red": 15, "orange": 45, "yellow": 68, "green": 165, "turquoise": 195, "blue": 255, "purple": 305, "pink": 345}
"""Up to which angle of the colour wheel, in degrees, a full colour has the name; what is beyond the last is red."""


def plain_color(image: Image.Image) -> str:
    """The name of the colour at an image's border where that is plain, else "". What is transparent counts as white."""
    if image.mode not in ("RGB", "L") or has_alpha(image):  # else it is shrunk as it is: a large copy takes time
        image = to_rgb(image, alpha_of(image) if has_alpha(image) else None)
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BOX).convert("RGB")
    sides = [np.asarray(turned, dtype=np.float64)[:_DEEP] for turned in _turned(small)]
    if np.mean([np.abs(np.diff(side, axis=1)).mean() for side in sides]) > _SMOOTH:
        return ""
    border = np.concatenate([side.reshape(-1, 3) for side in sides])
    middle = np.median(border, axis=0)
    near = np.linalg.norm(border - middle, axis=1) <= _NEAR
    return _name(*colorsys.rgb_to_hsv(*(middle / 255))) if near.mean() >= _SHARE else ""


def on_background(color: str) -> str:
    """What a prompt says of a background of this colour; "" of one that has no name."""
    if not color:
        return ""
    return f"on {'an' if color[0] in 'aeiou' else 'a'} {color} background"


def _turned(image: Image.Image) -> list[Image.Image]:
    """The image with each of its sides on top."""
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return [image, *(image.transpose(turn) for turn in turns)]


def _name(turn: float, full: float, bright: float) -> str:
    """The name of a colour in HSV, each 0 … 1."""
    hue = 360 * turn
    red = hue < 15 or hue >= 345
    rules = (
        (bright < 0.2, "black"),
        (full < 0.12 and bright >= 0.76, "white"),
        (full < 0.12, "gray"),
        (15 <= hue < 52 and full < 0.4 and bright >= 0.65, "beige"),
        ((hue < 45 or red) and bright < 0.6, "brown"),
        (15 <= hue < 45 and full < 0.6 and bright < 0.8, "brown"),
        (red and full < 0.5 and bright >= 0.7, "pink"),
        *((hue < edge, name) for name, edge in _HUES.items()),
    )
    return next((name for applies, name in rules if applies), "red")
