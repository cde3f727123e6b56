"""Masks that leave out a plain background: what is like the image's border and reaches it, is not learnt.

The border's colour may change from side to side, as light does: it is a plane through the colours of the border, fitted
to those that lie near it. What lies near the plane, or changes as slowly as light does, and hangs together with the
border, is background. A border of many colours (a room, a landscape) is none, and has no mask.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tinv_ext.core.data.image_bounds import alpha_of, has_alpha, to_rgb

_SIDE = 384  # pixels of the longer side of what is looked at
_FITS = 4  # times that the plane is fitted to what lies near it
_NEAR, _NEAREST = 60.0, 14.0  # of 255: how far at first, and at least, a colour may lie from the plane
_SPREADS = 3.5  # deviations of the border that still are background
_FURTHEST = 40.0  # of 255: more than that is not plain
_SLOW, _SLOWLY = 3.0, 90.0  # of 255: what light changes from pixel to pixel at most, and in all
_PLAIN = 0.5  # share of the border that has to be: a portrait's shoulders reach it
_LEAST, _MOST = 0.01, 0.95  # share of the image that is left to be learnt

Pixels = NDArray[np.float64]
Marks = NDArray[np.bool_]


def mask_of(image: Image.Image) -> Image.Image | None:
    """White where the subject is, black where a plain background is, (W, H) of the image; None where there is none.

    Of an image with transparent parts, these are the background.
    """
    if has_alpha(image):
        alpha = alpha_of(image)
        if alpha.histogram()[255] < image.width * image.height:
            return alpha
    small = to_rgb(image, None)
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    if min(small.size) < 8:
        return None
    like = _like_border(small)
    if like is None:
        return None
    background = _reached(like)
    subject = Image.fromarray(np.where(background, 0, 255).astype(np.uint8)).filter(ImageFilter.MedianFilter(5))
    share = float(np.asarray(subject).mean()) / 255
    if not _LEAST <= share <= _MOST:
        return None
    return subject.filter(ImageFilter.MaxFilter(3)).resize(image.size, Image.Resampling.BILINEAR)


def _like_border(image: Image.Image) -> Marks | None:
    """Which pixels (h, w) may be background by their colour; None where the border is not plain."""
    pixels = np.asarray(image, dtype=np.float64)
    height, width, _ = pixels.shape
    down, across = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    places = np.stack([np.ones_like(down), down, across], axis=-1)
    ring = np.zeros((height, width), dtype=bool)
    ring[:2], ring[-2:], ring[:, :2], ring[:, -2:] = True, True, True, True
    fitted = [_fitted(pixels[ring], places[ring], plane) for plane in _first_planes(pixels)]
    share, plane, limit = max(fitted, key=lambda one: one[0])
    if share < _PLAIN:
        return None
    apart = np.linalg.norm(pixels - places @ plane, axis=2)
    smooth = np.asarray(image.filter(ImageFilter.GaussianBlur(1.5)), dtype=np.float64)
    steps = np.maximum(*(np.linalg.norm(np.gradient(smooth, axis=axis), axis=2) for axis in (0, 1)))
    found: Marks = (apart <= limit) | ((steps <= _SLOW) & (apart <= _SLOWLY))
    return found


def _first_planes(pixels: Pixels) -> list[Pixels]:
    """Where a fit can begin: one colour, that of most of the border; or a change of it from side to side, as the two
    sides say, or as one says along itself, where a subject hides the others."""
    top, bottom, left, right = pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]
    none = np.zeros(3)

    def middle(*sides: Pixels) -> Pixels:
        return np.asarray(np.median(np.concatenate(sides), axis=0))

    def along(side: Pixels) -> Pixels:
        """What the colour changes from the middle of a side to its end."""
        half = len(side) // 2
        return middle(side[half:]) - middle(side[:half])

    columns = (along(left) + along(right)) / 2
    return [
        np.stack([middle(top, bottom, left, right), none, none]),
        np.stack([(middle(left) + middle(right)) / 2, none, (middle(right) - middle(left)) / 2]),
        np.stack([(middle(top) + middle(bottom)) / 2, (middle(bottom) - middle(top)) / 2, none]),
        np.stack([middle(top) + columns, columns, along(top)]),
    ]


def _fitted(border: Pixels, places: Pixels, plane: Pixels) -> tuple[float, Pixels, float]:
    """The plane (3, 3) through the colours (N, 3) of the border that lie near it, which share of them does, and up to
    how far from it background is."""
    limit, share = _NEAR, 0.0
    for _ in range(_FITS):
        near = np.linalg.norm(border - places @ plane, axis=1) <= limit
        share = float(near.mean())
        if share < _PLAIN:
            break
        plane = np.linalg.lstsq(places[near], border[near], rcond=None)[0]
        spread = float(np.sqrt(np.square(border[near] - places[near] @ plane).sum(1).mean()))
        limit = min(_FURTHEST, max(_NEAREST, _SPREADS * spread))
    return share, plane, limit


def _reached(like: Marks) -> Marks:
    """Those of the marks (h, w) that hang together with the border, side by side."""
    found = np.zeros_like(like)
    found[0], found[-1], found[:, 0], found[:, -1] = like[0], like[-1], like[:, 0], like[:, -1]
    count = -1
    while count != (count := int(found.sum())):
        for turned, open_ in ((found, like), (found.T, like.T)):
            for rows in (range(1, len(open_)), range(len(open_) - 2, -1, -1)):
                before = rows[0] - rows.step
                for row in rows:
                    turned[row] |= turned[before] & open_[row]
                    before = row
    return found
