"""What there is to prepare: the images of a folder, measured, each with its caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from tinv_ext.core.data.borders import border_of
from tinv_ext.core.data.caption_files import CaptionFiles, ImageCaption
from tinv_ext.core.data.decoding import Unusable
from tinv_ext.core.data.image_bounds import alpha_of, has_alpha, to_rgb
from tinv_ext.core.data.image_folder import files_in, folders_below
from tinv_ext.core.data.images import grouped, open_image
from tinv_ext.core.data.masks import BESIDE
from tinv_ext.core.data.plain_color import plain_color
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import is_file
from tinv_ext.prepare.bars import Box, without_bars
from tinv_ext.prepare.blur import blur
from tinv_ext.prepare.duplicates import Fingerprint, duplicates, fingerprint
from tinv_ext.prepare.empty import NEARLY_EMPTY, shown
from tinv_ext.prepare.options import PrepareOptions


@dataclass(frozen=True)
class SourceImage:
    """An image of the source folder: its upright size in pixels and what was measured of it.

    `content` is the part between letterbox bars, where it has some; `mask` the file of its mask, where it has one;
    `same_as` another image that shows the same; `border` what it shows there (`core.data.borders`), `background` the
    name of the colour that this has (`plain_color`).
    """

    path: Path
    width: int
    height: int
    digest: str
    content: Box | None
    blur: float
    shown: float
    fingerprint: Fingerprint
    caption: ImageCaption
    mask: Path | None = None
    same_as: Path | None = None
    border: str = ""
    background: str = ""

    @property
    def empty(self) -> bool:
        """Whether it shows next to nothing."""
        return self.shown < NEARLY_EMPTY


@dataclass(frozen=True)
class SourceScan:
    """The images of a folder, files that cannot be used with the reason, and remarks on the whole of it."""

    images: tuple[SourceImage, ...]
    skipped: tuple[tuple[Path, Message], ...]
    notices: tuple[Message, ...]


def scan(options: PrepareOptions) -> SourceScan:
    """Look at every file of the source folder. `InputError` with every problem, among them that there is no image."""
    folder = options.source
    problems: list[str] = []
    captions = CaptionFiles(folder)
    images: list[SourceImage] = []
    skipped: list[tuple[Path, Message]] = []
    for path in sorted(files_in(folder, options.recursive), key=lambda path: (str(path).lower(), str(path))):
        try:
            images.append(_measured(path, captions.of(path), options))
        except Unusable as unusable:
            skipped.append((path, unusable.reason))
        except InputError as error:  # of a caption or a mask
            problems += error.problems
    problems += captions.problems
    if problems:
        raise InputError(problems)
    if not images:
        raise InputError(_none(folder, skipped))
    return SourceScan(with_duplicates(images), tuple(grouped(folder, skipped)), _below(options))


def upright(path: Path) -> tuple[Image.Image, str]:
    """An image as it is prepared: RGB, or RGBA where some of it may be transparent; and its digest. `Unusable`."""
    decoded, digest = open_image(path)
    image = decoded.image
    return (image.convert("RGBA") if has_alpha(image) else to_rgb(image, None)), digest


def on_white(image: Image.Image) -> Image.Image:
    """An image of `upright` as RGB, what is transparent as white."""
    return to_rgb(image, alpha_of(image)) if image.mode == "RGBA" else image


def _measured(path: Path, caption: ImageCaption, options: PrepareOptions) -> SourceImage:
    image, digest = upright(path)
    return replace(measured(path, image, digest, options), caption=caption, mask=_mask_beside(path, image.size))


def measured(path: Path, image: Image.Image, digest: str, options: PrepareOptions) -> SourceImage:
    """What is measured of an image of `upright`, without its caption and its mask."""
    rgb = on_white(image)
    content = without_bars(rgb)
    if content and options.trim_bars:
        rgb = rgb.crop(content)
    small = _made_small(rgb, options.width, options.height)
    unsharp, share, seen = blur(small), shown(small), fingerprint(small)
    about = (path, *image.size, digest, content, unsharp, share, seen, ImageCaption(""))
    return SourceImage(*about, border=border_of(small), background=plain_color(small))


def _mask_beside(path: Path, size: tuple[int, int]) -> Path | None:
    """The mask beside an image (`core.data.masks`). `InputError` if it is none or has another size than the image."""
    mask = path.with_name(f"{path.stem}{BESIDE}.png")
    if not is_file(mask):
        return None
    try:
        found, _ = upright(mask)
    except Unusable as unusable:
        raise InputError(
            message("masks.unusable", 'The mask "{file}" {reason}.', file=mask.name, reason=unusable.reason)
        ) from unusable
    if found.size != size:
        raise InputError(
            message(
                "prepare.mask_size",
                'The mask "{file}" has {mask} pixels, its image {image}. Save it at the size of the image.',
                file=mask.name,
                mask=f"{found.width}×{found.height}",
                image=f"{size[0]}×{size[1]}",
            )
        )
    return mask


def _made_small(image: Image.Image, width: int, height: int) -> Image.Image:
    """The image as it is trained on, so that it just covers the size; never enlarged."""
    scale = max(width / image.width, height / image.height)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def with_duplicates(images: Sequence[SourceImage]) -> tuple[SourceImage, ...]:
    """Of images that show the same, the largest stands for the others. Empty ones, which look alike, are left alone."""
    shown = [image for image in images if not image.empty]
    order = sorted(range(len(shown)), key=lambda index: -shown[index].width * shown[index].height)
    found = {shown[one].path: shown[other].path for one, other in duplicates(_prints(shown), order).items()}
    return tuple(replace(image, same_as=found.get(image.path)) for image in images)


def _prints(images: Sequence[SourceImage]) -> list[Fingerprint]:
    return [image.fingerprint for image in images]


def _below(options: PrepareOptions) -> tuple[Message, ...]:
    below = () if options.recursive else folders_below(options.source)
    if not below:
        return ()
    return (
        message(
            "prepare.below",
            "Images in sub-folders are left out unless recursive is on: {folders:, }.",
            folders=below[:5],
        ),
    )


def _none(folder: Path, skipped: Sequence[tuple[Path, Message]]) -> list[Message]:
    first = message(
        "prepare.no_image",
        'There is no usable image in "{folder}". Put images (PNG, JPEG, WebP …) into it.',
        folder=folder,
    )
    return [first, *(skipped_file(folder, path, reason) for path, reason in grouped(folder, skipped)[:5])]


def skipped_file(folder: Path, path: Path, reason: Message) -> Message:
    """A sentence saying that a file is left out, and why."""
    return message("prepare.skipped", "{file} is left out: it {reason}.", file=name_in(folder, path), reason=reason)


def name_in(folder: Path, path: Path) -> str:
    """What a file is called: its path in the folder."""
    return path.relative_to(folder).as_posix()
