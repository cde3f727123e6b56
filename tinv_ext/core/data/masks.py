"""Masks of training images as loss weights: what is white is learned, what is black is not.

A mask lies beside its image as `<name>-masklabel.png` (OneTrainer), or under the image's name in a folder of masks
(kohya's `conditioning_data_dir`).
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from tinv_ext.core.data.decoding import Unusable, decode
from tinv_ext.core.data.fitted_image import by_latent_place, fitted_by
from tinv_ext.core.data.image_bounds import to_rgb
from tinv_ext.core.data.image_fit import Fit
from tinv_ext.core.data.image_folder import files_in
from tinv_ext.core.data.images import LARGEST_FILE, ImageScan, TrainingImage
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import is_file

BESIDE = "-masklabel"
"""What is added to an image's name to name its mask (OneTrainer modules/dataLoader, ModifyPath)."""
_NAMED, _TOLD = 5, 20  # files in one sentence, and sentences


@dataclass(frozen=True)
class Mask:
    """A mask that was checked: SHA-256 of its bytes, and whether all of it is black."""

    path: Path
    digest: str
    black: bool


def masks_of(scan: ImageScan, folder: Path | None) -> dict[Path, Mask]:
    """The masks of images by path, from `folder` or from beside them; images without one are left out.

    `InputError` with a sentence for each mask that cannot be used, one for all that have another size than their
    image, and one where the folder has none for any image.
    """
    found = {image.path: path for image in scan.pictures if (path := image_mask(image, scan, folder))}
    if folder is not None and not found:
        raise InputError(
            message(
                "masks.none",
                'No file in the mask folder "{folder}" has the name of an image. Name each mask as its image, such as '
                '"{file}".',
                folder=folder,
                file=scan.name(scan.pictures[0].path),
            )
        )
    masks: dict[Path, Mask] = {}
    problems: list[Message] = []
    other_sizes: list[tuple[Path, TrainingImage, tuple[int, int]]] = []
    for image in scan.pictures:
        if image.path not in found:
            continue
        path = found[image.path]
        try:
            digest, mask = _read(path)
        except Unusable as unusable:
            problems.append(
                message("masks.unusable", 'The mask "{file}" {reason}.', file=path.name, reason=unusable.reason)
            )
            continue
        if mask.size != image.size:
            other_sizes.append((path, image, mask.size))
        masks[image.path] = Mask(path, digest, mask.getextrema() == (0, 0))
    if other_sizes:
        problems.append(_of_other_size(other_sizes))
    if problems:
        more = len(problems) - _TOLD
        rest = [message("masks.more", "{count:more mask|more masks} cannot be used.", count=more)] if more > 0 else []
        raise InputError([*problems[:_TOLD], *rest])
    return masks


def image_mask(image: TrainingImage, scan: ImageScan, folder: Path | None) -> Path | None:
    """Where the mask of an image is, if it has one."""
    if folder is None:
        beside = image.path.with_name(f"{image.path.stem}{BESIDE}.png")
        return beside if is_file(beside) else None
    own = folder / scan.folder.name  # of a subset in a folder for all subsets
    place = (own if own.is_dir() else folder) / image.path.relative_to(scan.folder)
    if is_file(place):
        return place
    same = sorted(path for path in _entries(place.parent) if path.stem == place.stem and path.is_file())
    return same[0] if same else None


def masks_not_used(folder: Path, masks: Mapping[Path, Mask]) -> list[str]:
    """Files in a folder of masks that are of no image."""
    used = {mask.path for mask in masks.values()}
    return sorted(path.relative_to(folder).as_posix() for path in files_in(folder, recursive=True) if path not in used)


def _entries(folder: Path) -> Iterable[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder)]
    except OSError:
        return []


def _of_other_size(found: list[tuple[Path, TrainingImage, tuple[int, int]]]) -> Message:
    path, image, (width, height) = found[0]
    return message(
        "masks.other_size",
        "{count:mask has|masks have} another size than the image ({files:, }): {file} has {width}×{height} pixels, its "
        "image {image_width}×{image_height}. Save each mask at the size of its image.",
        count=len(found),
        files=[*(path.name for path, _, _ in found[:_NAMED]), *(["…"] if len(found) > _NAMED else [])],
        file=path.name,
        width=width,
        height=height,
        image_width=image.width,
        image_height=image.height,
    )


def _read(path: Path) -> tuple[str, Image.Image]:
    """The digest of a mask's file, and the mask in gray; its own transparency does not count."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise Unusable(message("masks.too_large", "is too large"))
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unusable(message("images.unreadable", "cannot be read ({reason})", reason=reason)) from error
    return hashlib.sha256(data).hexdigest(), to_rgb(decode(io.BytesIO(data)).image, None).convert("L")


def load_mask(mask: Mask) -> Image.Image:
    """A checked mask, in gray. `InputError` if its file has changed since."""
    try:
        digest, image = _read(mask.path)
    except Unusable as unusable:
        raise InputError(
            message("masks.unusable", 'The mask "{file}" {reason}.', file=mask.path.name, reason=unusable.reason)
        ) from unusable
    if digest != mask.digest:
        raise InputError(
            message(
                "masks.changed",
                'The mask "{file}" has changed since the run was checked. Start the run again.',
                file=mask.path.name,
            )
        )
    return image


@dataclass(frozen=True)
class MaskRules:
    """How what masks show becomes loss weights, as OneTrainer has it (modules/util/loss/masked_loss.py).

    What is not shown counts `unmasked_weight`; `normalize` scales the weights of each image to average 1.
    """

    unmasked_weight: float = 0.0
    normalize: bool = True

    def weights(self, shown: Tensor) -> Tensor:
        """Loss weights from what is shown, (1, h, w) in [0, 1]; an image of which nothing is counts everywhere."""
        weights = shown.clamp(min=self.unmasked_weight)
        mean = weights.mean()
        if not mean > 0:
            return torch.ones_like(weights)
        return weights / mean if self.normalize else weights


def shown_by(mask: Image.Image, fit: Fit, corner: tuple[int, int]) -> Tensor:
    """How much of each latent place a mask shows, (1, h, w) in [0, 1], brought to size as its image is."""
    return by_latent_place(fitted_by(mask, fit, corner))
