"""Images brought to the size they are trained at, as a `Fit` says: pixels scaled, cropped, flipped and recoloured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tinv_ext.core.data.image_bounds import alpha_of, has_alpha, to_rgb
from tinv_ext.core.data.image_fit import Fit
from tinv_ext.core.data.saliency import most_salient
from tinv_ext.core.families import VAE_FACTOR

_FILTERS: Mapping[str, Image.Resampling] = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}
_FLIPS: Mapping[str, tuple[Image.Transpose, ...]] = {
    "none": (),
    "horizontal": (Image.Transpose.FLIP_LEFT_RIGHT,),
    "vertical": (Image.Transpose.FLIP_TOP_BOTTOM,),
    "both": (Image.Transpose.ROTATE_180,),
}
_HUE, _GAMMA = 8 / 180, 0.05
"""How far colours vary: hue by ±8 of OpenCV's 180, or gamma 0.95 to 1.05 (kohya sd-scripts library/train_util.py,
AugHelper.color_aug)."""


@dataclass(frozen=True)
class FittedImage:
    """An image at its training size: RGB on white and, if it has transparency, its alpha channel; 8 bits each.

    `corner` is what lay left of and above it in the scaled image before it was flipped.
    """

    rgb: Image.Image
    alpha: Image.Image | None
    corner: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return self.rgb.width * self.rgb.height * (3 if self.alpha is None else 4)

    def tensors(self) -> tuple[Tensor, Tensor | None]:
        """Pixels (3, H, W) float32 in [-1, 1] and, if it has transparency, its opacity (1, H/8, W/8) in [0, 1]."""
        pixels = torch.from_numpy(np.asarray(self.rgb, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1).contiguous()
        return pixels, None if self.alpha is None else by_latent_place(self.alpha)


def by_latent_place(gray: Image.Image) -> Tensor:
    """Means of a grayscale image over the pixels of each latent place, (1, H/8, W/8) float32 in [0, 1]."""
    values = np.asarray(gray, dtype=np.float32) / 255
    height, width = (side // VAE_FACTOR for side in values.shape)
    return torch.from_numpy(values.reshape(1, height, VAE_FACTOR, width, VAE_FACTOR).mean((2, 4)))


def fit_image(image: Image.Image, fit: Fit, digest: str = "") -> FittedImage:
    """An image as `fit` says; what is transparent becomes white. `digest` decides how its colours vary."""
    alpha = alpha_of(image) if has_alpha(image) else None
    rgb = to_rgb(image, alpha)
    corner = focal_corner(rgb, fit) if fit.place is None else fit.corner(*image.size)
    framed = fitted_by(rgb, fit, corner)
    if fit.colors:
        framed = _recolored(framed, f"{digest} {fit.colors}")
    return FittedImage(framed, None if alpha is None else fitted_by(alpha, fit, corner), corner)


def fitted_by(image: Image.Image, fit: Fit, corner: tuple[int, int]) -> Image.Image:
    """Pixels of any kind (an image, its alpha channel, its mask) scaled, cropped at `corner` and flipped."""
    size, (left, top) = fit.scaled(*image.size), corner
    if image.size != size:
        image = image.resize(size, _FILTERS[fit.interpolation])
    image = image.crop((left, top, left + fit.width, top + fit.height))
    for flip in _FLIPS[fit.flip]:
        image = image.transpose(flip)
    return image


def focal_corner(rgb: Image.Image, fit: Fit) -> tuple[int, int]:
    """Where the crop lies that has the most salient part of the image in its middle."""
    wide, high = fit.scaled(*rgb.size)
    across, down = most_salient(rgb, Fraction(fit.width, wide), Fraction(fit.height, high))
    return round((wide - fit.width) * across), round((high - fit.height) * down)


def _recolored(image: Image.Image, key: str) -> Image.Image:
    """The image with its hue shifted or its gamma changed, by an amount that `key` decides."""
    seed = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    change: Callable[[Image.Image, float], Image.Image] = _hue if rng.random() < 0.5 else _gamma
    return change(image, float(rng.uniform(-1, 1)))


def _hue(image: Image.Image, amount: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    shift = round(amount * _HUE * 256)
    return Image.merge("HSV", (hue.point([(h + shift) % 256 for h in range(256)]), saturation, value)).convert("RGB")


def _gamma(image: Image.Image, amount: float) -> Image.Image:
    table = [round(255 * (v / 255) ** (1 + amount * _GAMMA)) for v in range(256)]
    return image.point(table * 3)
