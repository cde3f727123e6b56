"""Pictures of a folder: which can be used, why others cannot, and how one becomes the tensor a VAE encodes."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from tinv_ext.core.data.buckets import Size, nearest
from tinv_ext.core.errors import InputError

LARGEST_ENLARGEMENT = 8.0  # a picture that would have to grow more than this teaches blur, not the concept
NOTED_ENLARGEMENT = 1.5
_NOT_PICTURES = {".txt", ".caption", ".json", ".jsonl", ".csv", ".toml", ".yaml", ".yml", ".md", ".npz", ".npy", ".db"}
_NOT_PICTURES |= {".ini", ".safetensors", ".pt", ".zip", ".html", ".log"}
_BACKGROUND = (255, 255, 255, 255)


@dataclass(frozen=True)
class TrainingImage:
    """One usable picture: where it lies, its upright size in pixels, the SHA-256 of its file, and remarks on it."""

    path: Path
    width: int
    height: int
    digest: str
    transparent: bool
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class SizeConditioning:
    """How a picture was brought to its size, in pixels, heights before widths: what SDXL is told of each.

    `original` is the upright picture's size, `crop` how much was cut off at the top and left after scaling, `target`
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
    """The framing of a picture that has its size by itself: what pictures are asked for with when they are drawn."""
    return SizeConditioning((height, width), (0, 0), (height, width))


@dataclass(frozen=True)
class ImageScan:
    """What was found in a folder: pictures to use, and files left out with the reason."""

    folder: Path
    pictures: tuple[TrainingImage, ...]
    skipped: tuple[tuple[Path, str], ...]


def scan_images(folder: Path, sizes: Sequence[Size]) -> ImageScan:
    """Look at every file of `folder` (not below it), opening each picture whole. `InputError` if none can be used.

    `sizes` are those that pictures may be brought to.
    """
    files = sorted(_files(folder), key=lambda path: (path.name.lower(), path.name))
    pictures: list[TrainingImage] = []
    skipped: list[tuple[Path, str]] = []
    seen: dict[str, str] = {}
    for path in files:
        try:
            picture = _look(path, sizes, seen)
        except _Unusable as reason:
            skipped.append((path, str(reason)))
            continue
        seen.setdefault(picture.digest, path.name)
        pictures.append(picture)
    if not pictures:
        reasons = "".join(f" {path.name}: {reason}." for path, reason in skipped[:5])
        raise InputError(f'No picture in "{folder}" can be used.{reasons} Put pictures (PNG, JPEG, WebP, …) into it.')
    return ImageScan(folder, tuple(pictures), tuple(skipped))


class _Unusable(Exception):
    """Why a picture cannot be used; stays in this file."""


def _files(folder: Path) -> Iterator[Path]:
    if not folder.exists():
        raise InputError(f'The picture folder "{folder}" does not exist. Check the path.')
    if not folder.is_dir():
        raise InputError(f'"{folder}" is a file, not a folder. Give the folder that holds the pictures.')
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise InputError(f'The folder "{folder}" cannot be read: {error.strerror}. Check its permissions.') from error
    for path in entries:
        if path.is_file() and not path.name.startswith(".") and path.suffix.lower() not in _NOT_PICTURES:
            yield path


def _look(path: Path, sizes: Sequence[Size], seen: dict[str, str]) -> TrainingImage:
    digest = _digest(path)
    upright, frames = _open(path)
    width, height = nearest(upright.width, upright.height, sizes)
    enlargement = max(width / upright.width, height / upright.height)
    size = f"{upright.width}×{upright.height}"
    if enlargement > LARGEST_ENLARGEMENT:
        raise _Unusable(f"is only {size} pixels, too small for {width}×{height}")
    remarks = []
    if enlargement > NOTED_ENLARGEMENT:
        remarks.append(f"{size} is enlarged {enlargement:.1f} times")
    if frames > 1:
        remarks.append(f"has {frames} frames, the first is used")
    if digest in seen:
        remarks.append(f"is the same picture as {seen[digest]}")
    return TrainingImage(path, upright.width, upright.height, digest, _has_alpha(upright), tuple(remarks))


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise _Unusable(f"cannot be read ({error.strerror or error})") from error


def _open(path: Path) -> tuple[Image.Image, int]:
    """The first frame, upright, and how many frames there are."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                frames = int(getattr(image, "n_frames", 1))
                image.getexif()  # before the load, after which Pillow 9.5 has closed a TIFF of several pages
                image.load()
                return ImageOps.exif_transpose(image), frames
    except UnidentifiedImageError:
        raise _Unusable("is not a picture that Pillow can read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise _Unusable(f"has more than {most} million pixels; save it again at a smaller size") from None
    except Exception as error:  # of a damaged file Pillow's decoders raise whatever their parsers do
        raise _Unusable(f"is damaged or cut short ({error})") from error


def _has_alpha(image: Image.Image) -> bool:
    return image.getbands()[-1] in ("A", "a") or "transparency" in image.info


def load(picture: TrainingImage, width: int, height: int, stretch: bool = False) -> tuple[Tensor, Tensor | None]:
    """Pixels (3, H, W) float32 in [-1, 1] and, if it has transparency, its opacity (1, H/8, W/8) in [0, 1].

    The picture is scaled to cover W×H and cut at its middle, or stretched if asked; what is transparent becomes white.
    """
    try:
        image, _ = _open(picture.path)
    except _Unusable as reason:
        raise InputError(f'"{picture.path}" {reason}. It was fine a moment ago; put it back or remove it.') from reason
    alpha = image.convert("RGBA").getchannel("A") if _has_alpha(image) else None
    colour = _fit(_rgb(image, alpha), width, height, stretch)
    pixels = torch.from_numpy(np.asarray(colour, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1).contiguous()
    if alpha is None:
        return pixels, None
    shape = (height // 8, width // 8)
    opacity = np.asarray(_fit(alpha, width, height, stretch), dtype=np.float32) / 255
    return pixels, torch.from_numpy(opacity.reshape(1, shape[0], 8, shape[1], 8).mean((2, 4)))


def _rgb(image: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _from_deep_grey(image)
    if alpha is None:
        return image.convert("RGB")
    canvas = Image.new("RGBA", image.size, _BACKGROUND)
    return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """16-bit or floating-point grey to 8-bit RGB; Pillow's own conversion would clip at 255."""
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    full = 65535.0 if image.mode.startswith("I") else (1.0 if values.max(initial=0) <= 1 else 255.0)
    grey = np.clip(values / full * 255, 0, 255).round().astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def size_conditioning_of(picture: TrainingImage, width: int, height: int, stretch: bool = False) -> SizeConditioning:
    """How `load` brings the picture to W×H. A stretched picture has lost nothing at its edges."""
    _, left, top = (None, 0, 0) if stretch else _covering(picture.width, picture.height, width, height)
    return SizeConditioning((picture.height, picture.width), (top, left), (height, width))


def _fit(image: Image.Image, width: int, height: int, stretch: bool) -> Image.Image:
    if stretch:
        return image.resize((width, height), Image.Resampling.LANCZOS)
    size, left, top = _covering(image.width, image.height, width, height)
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return image.crop((left, top, left + width, top + height))


def _covering(has_width: int, has_height: int, width: int, height: int) -> tuple[tuple[int, int], int, int]:
    """The size (width, height) that just covers W×H, and what lies left of and above the middle part of it."""
    if has_width * height <= has_height * width:  # as narrow as the target, or narrower
        size = (width, math.ceil(Fraction(has_height * width, has_width)))
    else:
        size = (math.ceil(Fraction(has_width * height, has_height)), height)
    return size, (size[0] - width) // 2, (size[1] - height) // 2
