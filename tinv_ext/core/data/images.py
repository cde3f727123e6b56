"""Training images of a folder: which can be used, and why others cannot."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from tinv_ext.core.data.ahead import ahead
from tinv_ext.core.data.borders import border_of
from tinv_ext.core.data.buckets import Size
from tinv_ext.core.data.color_profile import BROKEN, HDR_AS_IT_IS, NO_PROFILE, UNSUPPORTED
from tinv_ext.core.data.decoding import DecodedImage, Unusable, decode, unknown_format
from tinv_ext.core.data.fitted_image import FittedImage, fit_image
from tinv_ext.core.data.image_bounds import has_alpha, may_be_image
from tinv_ext.core.data.image_fit import FitRules
from tinv_ext.core.data.image_folder import files_in, folders_below
from tinv_ext.core.data.plain_color import plain_color
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message

LARGEST_ENLARGEMENT = 8.0  # an image that would have to grow more than this teaches blur, not the concept
NOTED_ENLARGEMENT = 1.5
FITTED_BYTES = 256 * 2**20
"""How many bytes of images may wait between scan and encoding, so that none of them is decoded twice."""
LARGEST_FILE = 1 << 30
"""Bytes of a file that is opened: an image of the most pixels that Pillow reads, uncompressed, is smaller."""
_LISTED = 5  # files of one suffix that are left out for the same reason, and each named
_GROUPS = 20  # lines about more than that
_BLOCK = 1 << 20  # bytes hashed at a time
_SETTLED = 2 * 10**9  # nanoseconds: the coarsest clock of a file system (FAT)


@dataclass(frozen=True)
class TrainingImage:
    """A usable image file: its upright size in pixels, the SHA-256 of its bytes, and remarks on how it will be used.

    `length` (bytes) and `modified` (nanoseconds) are those of the file when it was read: while they stay the same, so
    does the rest. A file written only a moment before may change again without showing it: it is not `settled`.
    `profile` is what became of its colour profile (`to_srgb`), `turned` whether Pillow turned it as it read it,
    `border` what it shows at its border (`border_of`), and `background` the name of the colour that this has
    (`plain_color`).
    """

    path: Path
    width: int
    height: int
    digest: str
    transparent: bool
    remarks: tuple[Message, ...] = ()
    frames: int = 1
    length: int = 0
    modified: int = 0
    profile: str = NO_PROFILE
    turned: bool = False
    border: str = ""
    background: str = ""
    settled: bool = False

    @property
    def size(self) -> Size:
        """Width and height."""
        return self.width, self.height


@dataclass(frozen=True)
class ImageScan:
    """What was found in a folder: images to use, and files left out with the reason.

    `below` are sub-folders that hold images and were not looked at. `fitted` has images by digest that the scan had to
    decode, for the encoding, which takes them out.
    """

    folder: Path
    pictures: tuple[TrainingImage, ...]
    skipped: tuple[tuple[Path, Message], ...]
    below: tuple[str, ...] = ()
    fitted: dict[str, FittedImage] = field(default_factory=dict, repr=False, compare=False)

    def name(self, path: Path) -> str:
        """What a file is called: its path in the folder, so that two of one name in two sub-folders differ."""
        return path.relative_to(self.folder).as_posix()


def scan_images(
    folder: Path,
    fit_rules: FitRules,
    known: Mapping[Path, TrainingImage] | None = None,
    room: int = 0,
    recursive: bool = False,
    without: Path | None = None,
) -> ImageScan:
    """Look at every file of `folder`, and below it if `recursive`. `InputError` if none can be used.

    What is in the folder `without` is left out. `fit_rules` says to which sizes images are brought. A file that is
    `known` and has not changed since is not opened; any other is opened once, hashed in blocks and decoded whole, so
    that a damaged one is told before a run starts. Several are looked at together. Up to `room` bytes of what was
    decoded are kept as `fitted`.
    """
    images: list[TrainingImage] = []
    skipped: list[tuple[Path, Message]] = []
    fitted: dict[str, FittedImage] = {}
    seen: dict[str, str] = {}
    files = sorted(files_in(folder, recursive, without), key=lambda path: _by_name(path.relative_to(folder).as_posix()))
    for looked, path in zip(ahead(partial(_looked, known=known or {}), files), files):
        try:
            if isinstance(looked, Unusable):
                raise looked
            image, upright = looked
            remarks = _remarks(image, fit_rules.size_of(*image.size), seen.get(image.digest))
        except Unusable as unusable:
            skipped.append((path, unusable.reason))
            continue
        if upright and image.digest not in seen and room > 0 and len(fit_rules.fits(*image.size)) == 1:
            fit = fit_image(upright, fit_rules.fit(*image.size), image.digest)
            room -= fit.nbytes
            fitted[image.digest] = fit
        seen.setdefault(image.digest, path.name)
        images.append(replace(image, remarks=remarks))
    below = () if recursive else folders_below(folder)
    if not images:
        raise InputError(_none_usable(folder, grouped(folder, skipped), below))
    return ImageScan(folder, tuple(images), tuple(grouped(folder, skipped)), below, fitted)


def grouped(folder: Path, skipped: Sequence[tuple[Path, Message]]) -> list[tuple[Path, Message]]:
    """Files left out with their reasons; where many of one suffix have the same, a single line that counts them."""
    groups: dict[tuple[str, str], list[tuple[Path, Message]]] = {}
    for path, reason in skipped:
        groups.setdefault((path.suffix.lower(), reason.id), []).append((path, reason))
    lines: list[tuple[Path, Message]] = []
    for (suffix, _), files in groups.items():
        if len(files) <= _LISTED:
            lines += files
        else:
            stands_for = message("images.many", "{reason} ({count} such files)", reason=files[0][1], count=len(files))
            lines.append((folder / f"*{suffix}", stands_for))
    if len(lines) <= _GROUPS * _LISTED:
        return lines
    rest = message("images.more", "cannot be used ({count} more files)", count=len(lines) - _GROUPS)
    return [*lines[:_GROUPS], (folder / "*", rest)]


def _by_name(name: str) -> tuple[str, str]:
    return name.lower(), name


def _none_usable(folder: Path, skipped: Sequence[tuple[Path, Message]], below: Sequence[str]) -> Message:
    if below:
        return message(
            "images.only_below",
            'There is no usable image in "{folder}" itself, but its sub-folders hold images: {folders:, }. Give one of '
            "them, or turn on recursive.",
            folder=folder,
            folders=below[:5],
        )
    if not skipped:
        return message(
            "images.none", 'There is no image in "{folder}". Put images (PNG, JPEG, WebP …) into it.', folder=folder
        )
    reasons = [message("images.file_reason", "{file} {reason}.", file=path.name, reason=r) for path, r in skipped[:5]]
    return message(
        "images.none_usable",
        'No image in "{folder}" can be used. {reasons: } Put images (PNG, JPEG, WebP …) into it.',
        folder=folder,
        reasons=reasons,
    )


def open_image(path: Path) -> tuple[DecodedImage, str]:
    """Decode a file whole, and take the SHA-256 of its bytes. `Unusable` if it cannot be read or is no image."""
    try:
        length = path.stat().st_size
        if length > LARGEST_FILE:
            most = LARGEST_FILE >> 30
            raise Unusable(message("images.file_too_large", "is larger than {most} GB, so it is no image", most=most))
        with path.open("rb") as file:
            if not may_be_image(path, file.read(16), length):
                raise Unusable(unknown_format(file))
            file.seek(0)
            decoded = decode(file)  # first, as it looks at the head of what is no image and leaves the rest
            file.seek(0)
            return decoded, _digest(file)
    except OSError as error:
        raise Unusable(_unreadable(error)) from error


def _looked(path: Path, known: Mapping[Path, TrainingImage]) -> tuple[TrainingImage, Image.Image | None] | Unusable:
    """What `_look` returns, or raises."""
    try:
        return _look(path, known)
    except Unusable as unusable:
        return unusable


def _look(path: Path, known: Mapping[Path, TrainingImage]) -> tuple[TrainingImage, Image.Image | None]:
    """What is known of a file; where that is nothing, what opening it told, and the image upright."""
    try:
        status = path.stat()
    except OSError as error:
        raise Unusable(_unreadable(error)) from error
    before = known.get(path.absolute())
    if before and before.settled and (before.length, before.modified) == (status.st_size, status.st_mtime_ns):
        return replace(before, path=path), None
    decoded, digest = open_image(path)
    upright, settled = decoded.image, time.time_ns() - status.st_mtime_ns > _SETTLED
    image = TrainingImage(
        path,
        upright.width,
        upright.height,
        digest,
        has_alpha(upright),
        frames=decoded.frames,
        length=status.st_size,
        modified=status.st_mtime_ns,
        profile=decoded.profile,
        turned=decoded.turned,
        border=border_of(upright),
        background=plain_color(upright),
        settled=settled and decoded.profile != UNSUPPORTED,
    )
    return image, upright


def _unreadable(error: OSError) -> Message:
    if isinstance(error, FileNotFoundError) and error.filename and os.path.islink(error.filename):
        return message("images.broken_link", "is a link to a file that is not there")
    return message("images.unreadable", "cannot be read ({reason})", reason=error.strerror or str(error))


def _remarks(image: TrainingImage, target: Size, twin: str | None) -> tuple[Message, ...]:
    """What is worth knowing of an image that comes to the size `target`; `twin` is a file with the same bytes."""
    width, height = target
    enlargement = max(width / image.width, height / image.height)
    if enlargement > LARGEST_ENLARGEMENT:
        raise Unusable(
            message(
                "images.too_small",
                "is only {width}×{height} pixels, too small for {target_width}×{target_height}",
                width=image.width,
                height=image.height,
                target_width=width,
                target_height=height,
            )
        )
    remarks = []
    if enlargement > NOTED_ENLARGEMENT:
        remarks.append(
            message(
                "images.enlarged",
                "has {width}×{height} pixels and is enlarged {times:.1f} times",
                width=image.width,
                height=image.height,
                times=enlargement,
            )
        )
    if image.frames > 1:
        remarks.append(message("images.frames", "has {frames} frames; the first is used", frames=image.frames))
    if image.profile == BROKEN:
        remarks.append(
            message("images.broken_profile", "has a colour profile that is damaged or not for it; it is ignored")
        )
    if image.profile == UNSUPPORTED:
        remarks.append(
            message(
                "images.profile_unsupported",
                "has a colour profile, but the installed Pillow lacks Little CMS (ImageCms); its colours are taken as "
                "sRGB",
            )
        )
    if image.profile == HDR_AS_IT_IS:
        remarks.append(
            message(
                "images.hdr",
                "is an HDR image (PQ or HLG); its numbers are taken as sRGB and look flat. Save it without HDR",
            )
        )
    if twin:
        remarks.append(message("images.duplicate", "is the same image as {file}", file=twin))
    return tuple(remarks)


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def refuse_changed(images: Sequence[TrainingImage]) -> None:
    """`InputError` naming each file that is gone, or another, since it was scanned: what was checked is trained on."""
    problems = [problem for image in images if (problem := _changed(image))]
    if problems:
        raise InputError(problems)


def _changed(image: TrainingImage) -> Message | None:
    try:
        status = image.path.stat()
    except OSError as error:
        return message(
            "images.gone",
            '"{path}" {reason}. It was there when the run was checked: put it back, or start the run again.',
            path=image.path,
            reason=_unreadable(error),
        )
    if (status.st_size, status.st_mtime_ns) == (image.length, image.modified):
        return None
    return message(
        "images.changed", '"{path}" has changed since the run was checked. Start the run again.', path=image.path
    )


def load(image: TrainingImage) -> Image.Image:
    """A scanned image, upright. `InputError` if it has changed since."""
    refuse_changed([image])
    try:
        with image.path.open("rb") as file:
            return decode(file).image
    except OSError as error:
        reason = _unreadable(error)
    except Unusable as unusable:
        reason = unusable.reason
    raise InputError(
        message(
            "images.no_longer_usable",
            '"{path}" {reason}. It was fine when the run was checked: put it back, or remove it and start again.',
            path=image.path,
            reason=reason,
        )
    )
