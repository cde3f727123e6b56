"""What the VAE makes of pictures, encoded once and kept on disk by content, so that the next run need not.

A latent is kept as the mean and standard deviation of the VAE's Gaussian, already scaled by the model's scale factor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from tinv_ext.core.atomic import atomic_write, make_folder
from tinv_ext.core.data.buckets import Size, nearest
from tinv_ext.core.data.images import SizeConditioning, TrainingImage, size_conditioning_of
from tinv_ext.core.data.images import load as load_picture
from tinv_ext.core.errors import HostError, NumericError


@dataclass(frozen=True)
class LatentDistribution:
    """Mean and standard deviation, (4, h, w) or (B, 4, h, w) float32, scaled as the UNet expects latents."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """A latent: mean + std · noise, with standard normal noise of the same shape."""
        return self.mean + self.std * noise


@dataclass(frozen=True)
class EncodedImage:
    """A picture as the trainer sees it: latent, framing, and its opacity (1, h, w) if it has transparency."""

    picture: TrainingImage
    latent: LatentDistribution
    opacity: Tensor | None
    size_cond: SizeConditioning


@dataclass(frozen=True)
class EncodeRules:
    """What decides a latent beside the picture: target sizes in pixels, stretching, and the digest of the VAE."""

    sizes: Sequence[Size]
    stretch: bool
    vae_digest: str

    def size_of(self, picture: TrainingImage) -> Size:
        """The size that a picture is brought to."""
        return nearest(picture.width, picture.height, self.sizes)


def encode_pictures(
    pictures: Sequence[TrainingImage],
    rules: EncodeRules,
    encode: Callable[[Tensor], LatentDistribution],
    cache: Path | None,
    report: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda text: None,
) -> list[EncodedImage]:
    """Latents of all pictures, from the cache where it has them; `encode` gets (1, 3, H, W) in [-1, 1].

    One by one: a latent then depends on its picture alone, and not, in its last digits, on which others were missing.
    A cache that cannot be written is told once, and done without.
    """
    found = {picture.digest: _cached(picture, rules, cache) for picture in pictures}
    missing = [picture for picture in _unique(pictures) if found[picture.digest] is None]
    for done, picture in enumerate(missing, 1):
        pixels, opacity = load_picture(picture, *rules.size_of(picture), rules.stretch)
        latents = encode(pixels[None])
        latent = LatentDistribution(latents.mean[0].float().cpu(), latents.std[0].float().cpu())
        found[picture.digest] = entry = _entry(picture, rules, latent, opacity)
        try:
            if cache is not None:
                _keep(entry, rules, cache)
        except HostError as error:
            cache = None
            tell(f"Latents are not kept for the next run: {error}")
        report(done, len(missing))
    return [_of(found[picture.digest], picture) for picture in pictures]


def _unique(pictures: Sequence[TrainingImage]) -> list[TrainingImage]:
    return list({picture.digest: picture for picture in pictures}.values())


def _of(entry: EncodedImage | None, picture: TrainingImage) -> EncodedImage:
    assert entry is not None  # every digest was found or encoded above
    return replace(entry, picture=picture)


def _entry(
    picture: TrainingImage, rules: EncodeRules, latent: LatentDistribution, opacity: Tensor | None
) -> EncodedImage:
    how = size_conditioning_of(picture, *rules.size_of(picture), rules.stretch)
    return EncodedImage(picture, _finite(latent, picture), opacity, how)


def _finite(latent: LatentDistribution, picture: TrainingImage) -> LatentDistribution:
    if not (torch.isfinite(latent.mean).all() and torch.isfinite(latent.std).all()):
        raise NumericError(
            f'The VAE gives values that are not numbers for "{picture.path}". '
            "It does so in full precision, too: remove the picture, or load another VAE."
        )
    return latent


def _cache_file(picture: TrainingImage, rules: EncodeRules, cache: Path) -> Path:
    width, height = rules.size_of(picture)
    said = f"1 {picture.digest} {width}x{height} {rules.stretch} {rules.vae_digest}"
    key = hashlib.sha256(said.encode()).hexdigest()
    return cache / key[:2] / f"{key}.safetensors"


def _cached(picture: TrainingImage, rules: EncodeRules, cache: Path | None) -> EncodedImage | None:
    """The kept latent, or None if there is none that can be read whole (it is then made again)."""
    if cache is None or not (path := _cache_file(picture, rules, cache)).is_file():
        return None
    try:
        kept = load(path.read_bytes())  # not mapped into memory: then nobody could remove the file on Windows
        return _entry(picture, rules, LatentDistribution(kept["mean"], kept["std"]), kept.get("opacity"))
    except (SafetensorError, OSError, KeyError, NumericError):
        return None


def _keep(entry: EncodedImage, rules: EncodeRules, cache: Path) -> None:
    tensors = {"mean": entry.latent.mean.contiguous(), "std": entry.latent.std.contiguous()}
    if entry.opacity is not None:
        tensors["opacity"] = entry.opacity.contiguous()
    path = _cache_file(entry.picture, rules, cache)
    make_folder(path.parent)
    with atomic_write(path) as file:
        file.write(save(tensors))
