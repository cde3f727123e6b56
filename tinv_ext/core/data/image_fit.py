"""To which size images are brought, and how: scaled, cropped, flipped, their colours varied. Numbers, no pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

from tinv_ext.core.data.buckets import Size, nearest, own_size

INTERPOLATIONS = ("lanczos", "bicubic", "bilinear", "area", "nearest")
CROPS = ("center", "random", "focal")
FLIPS: Mapping[str, tuple[str, ...]] = {
    "none": ("none",),
    "horizontal": ("none", "horizontal"),
    "vertical": ("none", "vertical"),
    "both": ("none", "horizontal", "vertical", "both"),
}
"""The ways in which an image is shown, by the setting."""
MIDDLE = Fraction(1, 2)


@dataclass(frozen=True)
class SizeConditioning:
    """How an image was brought to its size, in pixels, heights before widths: what SDXL is told of each.

    `original` is the upright image's size, `crop` how much was cut off at the top and left after scaling, `target`
    the size it came to (Podell et al. 2023, arXiv 2307.01952, section 2.2).
    """

    original: tuple[int, int]
    crop: tuple[int, int]
    target: tuple[int, int]

    @property
    def numbers(self) -> tuple[int, ...]:
        """All six, in the order in which SDXL takes them."""
        return (*self.original, *self.crop, *self.target)


def uncropped(width: int, height: int) -> SizeConditioning:
    """The size conditioning of an image that was never scaled or cropped: what images are generated with."""
    return SizeConditioning((height, width), (0, 0), (height, width))


@dataclass(frozen=True)
class Fit:
    """One way of bringing an image to W×H.

    It is stretched, or scaled to cover W×H and cropped: `place` is the share of the surplus that is cut off left and
    above, None where the image's most salient part decides. Then it is flipped. `colors` 0 are its own, other numbers
    variations of them.
    """

    width: int
    height: int
    stretch: bool = False
    interpolation: str = "lanczos"
    place: Fraction | None = MIDDLE
    flip: str = "none"
    colors: int = 0

    def scaled(self, width: int, height: int) -> Size:
        """The size to which an image of the size given is scaled, before it is cropped."""
        if self.stretch:
            return self.width, self.height
        if width * self.height <= height * self.width:  # as narrow as the target, or narrower
            return self.width, math.ceil(Fraction(height * self.width, width))
        return math.ceil(Fraction(width * self.height, height)), self.height

    def corner(self, width: int, height: int) -> tuple[int, int]:
        """What lies left of and above the crop, in pixels of the scaled image; not where the image itself decides."""
        assert self.place is not None
        wide, high = self.scaled(width, height)
        return int((wide - self.width) * self.place), int((high - self.height) * self.place)

    def size_cond(self, width: int, height: int, corner: tuple[int, int]) -> SizeConditioning:
        """Of an image that is cropped at `corner`, then flipped: what was cut off is counted in the flipped image."""
        (wide, high), (left, top) = self.scaled(width, height), corner
        if self.flip in ("horizontal", "both"):
            left = wide - self.width - left
        if self.flip in ("vertical", "both"):
            top = high - self.height - top
        return SizeConditioning((height, width), (top, left), (self.height, self.width))

    @property
    def description(self) -> str:
        """What beside the size and stretching makes this fit another than the plain one; empty where nothing does."""
        parts = [] if self.interpolation == "lanczos" else [self.interpolation]
        if self.place is None:
            parts.append("focal")
        elif self.place != MIDDLE:
            parts.append(f"at {self.place}")
        parts += [] if self.flip == "none" else [f"flipped {self.flip}"]
        parts += [f"colors {self.colors}"] if self.colors else []
        return ", ".join(parts)


@dataclass(frozen=True)
class FitRules:
    """How the images of a folder are brought to size, and in how many variants each is shown.

    They come to the nearest of `sizes`; where they keep their own (`keep`), or would have to be enlarged and must not
    (`no_upscale`), to the largest size in whole `step`s that fits into them.
    """

    sizes: Sequence[Size]
    stretch: bool = False
    keep: bool = False
    no_upscale: bool = False
    step: int = 64
    longest: int = 0  # pixels of a side that is kept
    interpolation: str = "lanczos"
    crop: str = "center"
    flip: str = "none"
    color_aug: bool = False
    variants: int = 1

    def size_of(self, width: int, height: int) -> Size:
        """The size that an image comes to."""
        wide, high = nearest(width, height, self.sizes)
        if self.keep or (self.no_upscale and (wide > width or high > height)):
            return own_size(width, height, self.step, self.longest)
        return wide, high

    def fit(self, width: int, height: int) -> Fit:
        """How an image is shown in the first of its variants: neither flipped nor in other colours."""
        place = None if self.crop == "focal" and not self.stretch else MIDDLE
        return Fit(*self.size_of(width, height), self.stretch, self.interpolation, place)

    def fits(self, width: int, height: int) -> tuple[Fit, ...]:
        """All variants of an image: those of crop and colours, each in every flip. The first is `fit`.

        Random crops lie evenly from one end of the image to the other; where nothing is cut off, they are one.
        """
        first = self.fit(width, height)
        count = self.variants if self.crop == "random" or self.color_aug else 1
        varied = [replace(first, colors=number if self.color_aug else 0) for number in range(count)]
        if self.crop == "random" and count > 1:
            varied = [replace(fit, place=place) for fit, place in zip(varied, _places(count))]
        shown: dict[object, Fit] = {}
        for fit in varied:
            corner = None if fit.place is None else fit.corner(width, height)
            shown.setdefault((fit.colors, corner), fit)
        return tuple(replace(fit, flip=flip) for fit, flip in product(shown.values(), FLIPS[self.flip]))


def _places(count: int) -> list[Fraction]:
    """The middle, then as many others as make `count`, evenly from one end to the other."""
    others = count - 1
    if others == 1:
        return [MIDDLE, Fraction(0)]
    return [MIDDLE, *(Fraction(number, others - 1) for number in range(others))]
