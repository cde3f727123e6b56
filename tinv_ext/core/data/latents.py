"""Latents of the training images, encoded once and cached on disk by content, so that the next run need not.

A latent is kept as the mean and standard deviation of the VAE's Gaussian, already scaled by the model's scale factor.
Each file has a checksum, as a latent that is damaged would spoil this run and all later ones unseen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from tinv_ext.core.atomic import atomic_write, make_folder, sweep
from tinv_ext.core.checksum import KEY as CHECKSUM
from tinv_ext.core.checksum import checksum
from tinv_ext.core.data.ahead import ahead
from tinv_ext.core.data.buckets import Size
from tinv_ext.core.data.color_profile import NOT_CONVERTED
from tinv_ext.core.data.fitted_image import FittedImage, fit_image
from tinv_ext.core.data.image_fit import Fit, FitRules, SizeConditioning
from tinv_ext.core.data.image_index import write_index
from tinv_ext.core.data.images import TrainingImage, refuse_changed
from tinv_ext.core.data.images import load as load_image
from tinv_ext.core.data.saliency import detector
from tinv_ext.core.errors import FormatError, HostError, NumericError
from tinv_ext.core.families import VAE_FACTOR
from tinv_ext.core.formats.safetensors_file import read_safetensors, safetensors_bytes
from tinv_ext.core.messages import message


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
    """One variant of an image as training needs it: its latent, and its opacity (1, h, w) if it has transparency.

    `corner` is where `fit` cropped it.
    """

    picture: TrainingImage
    latent: LatentDistribution
    opacity: Tensor | None
    fit: Fit
    corner: tuple[int, int]

    @property
    def size_cond(self) -> SizeConditioning:
        """What SDXL is told of its size."""
        return self.fit.size_cond(*self.picture.size, self.corner)


@dataclass(frozen=True)
class EncodeRules:
    """What decides a latent beside the image: how it is brought to size, and the digest of the VAE."""

    fit_rules: FitRules
    vae_digest: str


_Variant = tuple[str, Fit]  # digest of the image, and how it is shown


def encode_images(
    images: Sequence[TrainingImage],
    rules: EncodeRules,
    encode: Callable[[Tensor], LatentDistribution],
    cache: Path | None,
    report: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda text: None,
    fitted: MutableMapping[str, FittedImage] | None = None,
    pixels_at_once: int = 0,
) -> list[tuple[EncodedImage, ...]]:
    """The variants of each image, from the cache where it has them; `encode` gets (B, 3, H, W) in [-1, 1].

    Files are decoded ahead. B is 1, so that a latent depends on its image alone and not, in its last digits, on which
    others were missing; or it is as many of one size as have `pixels_at_once` together.
    `fitted` has images by digest that are decoded already, and is emptied. A cache that cannot be written is told
    once, and done without; latents in it that are damaged are encoded again, and counted in one notice. `InputError`
    if a file has changed since it was scanned.
    """
    refuse_changed(images)
    fitted = {} if fitted is None else fitted
    fits = {image.digest: rules.fit_rules.fits(*image.size) for image in images}
    variants = [(image, fit) for image in _unique(images) for fit in fits[image.digest]]
    encoded = _all_cached(variants, rules, cache, tell)
    missing = [(image, fit) for image, fit in variants if encoded[image.digest, fit] is None]
    done = 0
    with closing(_frames(missing, fitted)) as frames:
        for group in _alike(frames, pixels_at_once):
            tensors = [framed.tensors() for _, _, framed in group]
            latents = encode(torch.stack([pixels for pixels, _ in tensors]))
            means, stds = latents.mean.float().cpu(), latents.std.float().cpu()
            for (image, fit, framed), (_, opacity), mean, std in zip(group, tensors, means, stds):
                latent = _finite(LatentDistribution(mean, std), image)
                entry = EncodedImage(image, latent, opacity, fit, framed.corner)
                encoded[image.digest, fit] = entry
                cache = _keep(cache, lambda folder, entry=entry: _write(entry, rules, folder), tell)  # type: ignore[misc]
                done += 1
                report(done, len(missing))
    fitted.clear()
    _keep(cache, lambda folder: write_index(folder, images), tell)
    return [tuple(_of(encoded[image.digest, fit], image) for fit in fits[image.digest]) for image in images]


_Frame = tuple[TrainingImage, Fit, FittedImage]


def _frames(
    missing: Sequence[tuple[TrainingImage, Fit]], fitted: MutableMapping[str, FittedImage]
) -> Generator[_Frame, None, None]:
    """Each variant at its size, in the order given; each file is decoded once for all of its variants."""
    fits: dict[str, tuple[TrainingImage, list[Fit]]] = {}
    for image, fit in missing:
        fits.setdefault(image.digest, (image, []))[1].append(fit)

    def framed(of: tuple[TrainingImage, list[Fit]]) -> list[_Frame]:
        image, its = of
        ready = fitted.pop(image.digest, None)
        if ready is not None:  # which it only is where there is one variant
            return [(image, its[0], ready)]
        decoded = load_image(image)
        return [(image, fit, fit_image(decoded, fit, image.digest)) for fit in its]

    with closing(ahead(framed, fits.values())) as found:
        for frames in found:
            yield from frames


def _alike(frames: Iterable[_Frame], pixels_at_once: int) -> Iterator[list[_Frame]]:
    """Groups of one size, of so many pixels at most but of one variant at least."""
    waiting: dict[Size, list[_Frame]] = {}
    for frame in frames:
        width, height = size = frame[2].rgb.size
        group = waiting.setdefault(size, [])
        group.append(frame)
        if (len(group) + 1) * width * height > pixels_at_once:
            yield waiting.pop(size)
    yield from waiting.values()


def _keep(cache: Path | None, write: Callable[[Path], None], tell: Callable[[str], None]) -> Path | None:
    """Write into the cache; the cache if it can be written to."""
    try:
        if cache is not None:
            write(cache)
    except HostError as error:
        tell(message("latents.not_cached", "Latents are not cached for the next run: {reason}", reason=_said(error)))
        return None
    return cache


def _said(error: HostError) -> str:
    return error.problems[0]


def _unique(images: Sequence[TrainingImage]) -> list[TrainingImage]:
    return list({image.digest: image for image in images}.values())


def _of(entry: EncodedImage | None, image: TrainingImage) -> EncodedImage:
    assert entry is not None  # every digest was found or encoded above
    return replace(entry, picture=image)


def _finite(latent: LatentDistribution, image: TrainingImage) -> LatentDistribution:
    if not (torch.isfinite(latent.mean).all() and torch.isfinite(latent.std).all()):
        raise NumericError(
            message(
                "latents.not_finite",
                'The VAE gives values that are not finite for "{path}", in full precision too: remove the image, or '
                "use another VAE.",
                path=image.path,
            )
        )
    return latent


def _cache_file(image: TrainingImage, fit: Fit, rules: EncodeRules, cache: Path) -> Path:
    text = f"1 {image.digest} {fit.width}x{fit.height} {fit.stretch} {rules.vae_digest}"
    if image.profile not in NOT_CONVERTED:  # entries from before profiles were honoured hold other colours
        text += f" icc {image.profile}"
    if image.turned:  # entries from before hold an image that was turned twice
        text += " turned"
    if fit.description:
        text += f" {fit.description}"
    if fit.place is None:
        text += f" {detector()}"
    key = hashlib.sha256(text.encode()).hexdigest()
    return cache / key[:2] / f"{key}.safetensors"


def _all_cached(
    variants: Sequence[tuple[TrainingImage, Fit]],
    rules: EncodeRules,
    cache: Path | None,
    tell: Callable[[str], None],
) -> dict[_Variant, EncodedImage | None]:
    """What the cache has of each variant; None for what is not there or cannot be used."""
    entries: dict[_Variant, EncodedImage | None] = {(image.digest, fit): None for image, fit in variants}
    if cache is None:
        return entries
    for folder in cache.glob("[0-9a-f][0-9a-f]"):
        sweep(folder)
    damaged = []
    for image, fit in variants:
        try:
            entries[image.digest, fit] = _cached(image, fit, rules, cache)
        except (FormatError, NumericError, ValueError, OSError):
            damaged.append(image.path.name)
    if damaged:
        tell(
            message(
                "latents.damaged",
                "Of the cached latents, {count:was|were} damaged and encoded again: {files:, }.",
                count=len(damaged),
                files=[*damaged[:5], *(["…"] if len(damaged) > 5 else [])],
            )
        )
    return entries


def _cached(image: TrainingImage, fit: Fit, rules: EncodeRules, cache: Path) -> EncodedImage | None:
    """The cached latent; None if there is none, or one of version 0.2 or earlier, which nothing can verify.

    FormatError, NumericError, ValueError or OSError if it is not what was written.
    """
    path = _cache_file(image, fit, rules, cache)
    if not path.is_file():
        return None
    stored, about = read_safetensors(path)
    if CHECKSUM not in about:
        return None
    expected = {"mean", "std", *(["opacity"] if image.transparent else []), *(["corner"] if fit.place is None else [])}
    sides = {key: (2,) if key == "corner" else (fit.height // VAE_FACTOR, fit.width // VAE_FACTOR) for key in expected}
    if set(stored) != expected or any(stored[key].shape[-len(side) :] != side for key, side in sides.items()):
        raise ValueError("other tensors than those of the image")
    tensors = {key: one.read() for key, one in stored.items()}
    mean, std, opacity = tensors["mean"], tensors["std"], tensors.get("opacity")
    if any(one.dtype != torch.float32 for one in tensors.values()) or mean.shape != std.shape or bool((std < 0).any()):
        raise ValueError("not the mean and the standard deviation of a latent")
    if about != _about(tensors, path):
        raise ValueError("the checksum is wrong")
    corner = _corner(tensors["corner"]) if fit.place is None else fit.corner(*image.size)
    return EncodedImage(image, _finite(LatentDistribution(mean, std), image), opacity, fit, corner)


def _corner(stored: Tensor) -> tuple[int, int]:
    """Left and top, of which the pixels of an image have decided."""
    left, top = (int(side) for side in stored.flatten().tolist())
    return left, top


def _about(tensors: Mapping[str, Tensor], path: Path) -> dict[str, str]:
    """The texts in a cached latent's file: what it is of, and the checksum of it all."""
    texts = {"format": "pt", "of": path.stem}
    return {**texts, CHECKSUM: checksum(tensors, texts)}


def _write(entry: EncodedImage, rules: EncodeRules, cache: Path) -> None:
    tensors = {"mean": entry.latent.mean.contiguous(), "std": entry.latent.std.contiguous()}
    if entry.opacity is not None:
        tensors["opacity"] = entry.opacity.contiguous()
    if entry.fit.place is None:
        tensors["corner"] = torch.tensor(entry.corner, dtype=torch.float32)
    path = _cache_file(entry.picture, entry.fit, rules, cache)
    make_folder(path.parent)
    with atomic_write(path) as file:
        file.write(safetensors_bytes(tensors, _about(tensors, path)))
