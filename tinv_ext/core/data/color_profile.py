"""Colour profiles: an image brought to sRGB, relative colorimetric, as every viewer that manages colours shows it.

Little CMS does it, through Pillow. Images whose profile is sRGB within rounding stay as they are.
"""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from tinv_ext.core.data.image_bounds import alpha_of, has_alpha, to_rgb
from tinv_ext.core.data.png_colors import HDR

ImageCms: Any = None
with suppress(ImportError):  # Pillow was built without Little CMS: `UNSUPPORTED` says so of images with a profile
    from PIL import ImageCms

NO_PROFILE, BROKEN, UNSUPPORTED, HDR_AS_IT_IS = "", "broken", "unsupported", "hdr"
"""What became of a profile: there is none that matters; it is damaged or not for this image; Pillow has no Little CMS;
it is that of an HDR image, whose numbers stay. Any other text names one that was used."""
NOT_CONVERTED = (NO_PROFILE, BROKEN, UNSUPPORTED, HDR_AS_IT_IS)
_ROUNDING = 2  # of 255
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "LAB": "LAB"}  # of profiles, with Pillow's modes


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """The image in sRGB by its profile, and what became of the profile; a profile that cannot be used is ignored.

    Images without a profile stay as they are, but for Lab, whose numbers are colours by themselves.
    """
    if image.mode == "LAB":
        return _lab(image), NO_PROFILE
    if profile is None:
        return image, NO_PROFILE
    if profile == HDR:
        return image, HDR_AS_IT_IS
    if ImageCms is None:
        return image, UNSUPPORTED
    mode, transform = _transform(profile)
    if mode is None or not _fits(image.mode, mode):
        return image, BROKEN
    if transform is None:
        return image, NO_PROFILE
    alpha = alpha_of(image) if has_alpha(image) else None
    converted: Image.Image = ImageCms.applyTransform(_plain(image, mode), transform)
    if alpha is not None:
        converted.putalpha(alpha)
    return converted, hashlib.sha256(profile).hexdigest()[:16]


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> tuple[str | None, Any]:
    """The mode that a profile is for and the transform from it to sRGB: None of both where the profile is damaged,
    no transform where it would change nothing."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _SPACES.get(source.profile.xcolor_space.strip())
        if mode is None:
            return None, None
        transform = _build(source, mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None, None
    if mode == "RGB":
        probe = _probe()
        changed = np.asarray(ImageCms.applyTransform(probe, transform), np.int16) - np.asarray(probe, np.int16)
        if int(np.abs(changed).max()) <= _ROUNDING:
            return mode, None
    return mode, transform


def _build(source: Any, mode: str) -> Any:
    return ImageCms.buildTransform(
        source, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
    )


def _probe() -> Image.Image:
    """Colours from all over the cube."""
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    colors = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3)
    return Image.fromarray(colors)


def _lab(image: Image.Image) -> Image.Image:
    if ImageCms is None:
        raise ValueError("a Lab image needs a Pillow with Little CMS; save it as RGB")
    transform = _build(ImageCms.createProfile("LAB"), "LAB")
    converted: Image.Image = ImageCms.applyTransform(image, transform)
    return converted


def _fits(mode: str, of_profile: str) -> bool:
    """Whether an image of this mode can be in the colour space of such a profile."""
    if mode == "CMYK" or of_profile in ("CMYK", "LAB"):
        return mode == of_profile
    return of_profile == "RGB" or mode.startswith(("1", "L", "I", "F"))


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """The image without transparency, in a mode that a profile is for, 8 bits each."""
    if image.mode.startswith(("I", "F")):
        image = to_rgb(image, None)
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)
