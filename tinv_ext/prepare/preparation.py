"""Carries out a plan: writes the new images and the captions, each whole or not at all, all of it to be undone."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from tinv_ext.core.data.caption_files import ImageCaption
from tinv_ext.core.data.decoding import Unusable
from tinv_ext.core.data.fitted_image import fitted_by, focal_corner
from tinv_ext.core.data.masks import BESIDE
from tinv_ext.core.errors import HostError, InputError, TinvError
from tinv_ext.core.messages import Message, message
from tinv_ext.prepare.captions import Captioner, CaptionOf, joined, new_caption
from tinv_ext.prepare.edits import shares_stem
from tinv_ext.prepare.options import PrepareOptions
from tinv_ext.prepare.painted_masks import place_of_new_mask
from tinv_ext.prepare.plain_background import mask_of
from tinv_ext.prepare.plan import NewImage, Plan, PlannedImage
from tinv_ext.prepare.scan import on_white, skipped_file, upright
from tinv_ext.prepare.undo import Record


@dataclass(frozen=True)
class Progress:
    """How far a preparation is: source images done of all, files written, images of which something is to be told.

    `masks` are those made of plain backgrounds; None where none were asked for.
    """

    done: int
    total: int
    images: int = 0
    captions: int = 0
    masks: int | None = None
    problems: tuple[Message, ...] = ()

    @property
    def wrote(self) -> bool:
        """Whether anything was written so far."""
        return bool(self.images or self.captions or self.masks)

    def sentence(self, folder: Path) -> Message:
        """What has been done so far, in the folder that is written into."""
        if self.done < self.total:
            return message(
                "prepare.progress",
                '{done} of {total:image|images} done: {written} in "{folder}".',
                done=self.done,
                total=self.total,
                written=self._written(),
                folder=folder,
            )
        return message(
            "prepare.done", 'Done: {written} were written into "{folder}".', written=self._written(), folder=folder
        )

    def _written(self) -> Message:
        if not self.masks:  # masks of before may be there: those without one are named
            return message(
                "prepare.written",
                "{images:image|images} and {captions:caption|captions}",
                images=self.images,
                captions=self.captions,
            )
        return message(
            "prepare.written_masks",
            "{images:image|images}, {captions:caption|captions} and {masks:mask of a plain background|masks of plain "
            "backgrounds}",
            images=self.images,
            captions=self.captions,
            masks=self.masks,
        )


def refuse_missing(options: PrepareOptions, captioners: Mapping[str, Captioner]) -> None:
    """`InputError` if there is nothing to do, or with a sentence for each captioner that is not there."""
    problems = [_missing(name) for name in options.captioners if name not in captioners]
    if options.target is None and not options.captioners and not options.mask_backgrounds:
        problems.append(
            message(
                "prepare.nothing_to_do",
                "There is nothing to do. Name a folder for new images, choose how to caption those that are there, or "
                "have their backgrounds masked.",
            )
        )
    if problems:
        raise InputError(problems)


def prepare(
    plan: Plan, captioners: Mapping[str, Captioner], stopped: Callable[[], bool] = lambda: False
) -> Iterator[Progress]:
    """Write everything, yielding after each source image. When `stopped`, what is written stays, and can be undone.

    `captioners` are those that there are, by name. Raises HostError where one of them or the disk fails.
    """
    options = plan.options
    refuse_missing(options, captioners)
    progress = Progress(0, len(plan.used), masks=0 if options.mask_backgrounds else None)
    with ExitStack() as models:
        speakers = {name: models.enter_context(captioners[name]()) for name in options.captioners}
        record = Record.begin(options.folder)
        for image in plan.used:
            if stopped():
                break
            progress = _with_image(progress, image, _Writer(options, record, speakers))
            yield progress
        if not progress.wrote:
            record.discard()  # the one before is what there is to undo


def _with_image(progress: Progress, image: PlannedImage, writer: _Writer) -> Progress:
    """The progress with one more image done."""
    progress = replace(progress, done=progress.done + 1)
    try:
        images, captions, masked = writer.write(image)
    except Unusable as unusable:  # it has changed since the plan was made
        told = skipped_file(writer.options.source, image.source.path, unusable.reason)
        return replace(progress, problems=(*progress.problems, told))
    progress = replace(progress, images=progress.images + images, captions=progress.captions + captions)
    if masked is None or progress.masks is None:
        return progress
    problems = progress.problems if masked else (*progress.problems, _unmasked(image))
    return replace(progress, masks=progress.masks + masked, problems=problems)


@dataclass(frozen=True)
class _Writer:
    """Writes what becomes of a source image."""

    options: PrepareOptions
    record: Record
    speakers: Mapping[str, CaptionOf]

    def write(self, image: PlannedImage) -> tuple[int, int, int | None]:
        """How many images and captions were written, and masks of a plain background: None where the image needs none.

        `Unusable` if the image can no longer be read.
        """
        existing = image.source.caption.text if image.source.caption.source else ""
        if self.options.target is None:
            return 0, self._caption_beside(image, existing), self._mask_beside(image)
        pixels, captions = self._pixels(image), 0
        new_mask = self.options.mask_backgrounds and image.source.mask is None
        mask = mask_of(pixels) if new_mask else self._own_mask(image)
        for new in image.made:
            corner = corner_of(pixels, new)
            made = fitted_by(pixels, new.fit, corner)
            self.record.write(new.path, _png(made))
            if mask is not None:
                beside = new.path.with_name(f"{new.path.stem}{BESIDE}.png")
                self.record.write(beside, _png(fitted_by(mask, new.fit, corner)))
            captions += self._caption(image.source.path, new.path.with_suffix(".txt"), existing, made)
        masks = 0 if mask is None else len(image.made)
        return len(image.made), captions, masks if new_mask else None

    def _pixels(self, image: PlannedImage) -> Image.Image:
        return self._trimmed(upright(image.source.path)[0], image)

    def _own_mask(self, image: PlannedImage) -> Image.Image | None:
        """The mask in gray, cut as the image is."""
        mask = image.source.mask
        return None if mask is None else self._trimmed(upright(mask)[0].convert("L"), image)

    def _trimmed(self, pixels: Image.Image, image: PlannedImage) -> Image.Image:
        content = image.source.content
        return pixels.crop(content) if content and self.options.trim_bars else pixels

    def _mask_beside(self, image: PlannedImage) -> int | None:
        """Write a mask of the plain background beside the image, unless it has one."""
        if not self.options.mask_backgrounds or image.source.mask is not None:
            return None
        place = place_of_new_mask(image.source.path)
        mask = None if place is None else mask_of(upright(image.source.path)[0])
        if place is None or mask is None:
            return 0
        self.record.write(place, _png(mask))
        return 1

    def _caption_beside(self, image: PlannedImage, existing: str) -> int:
        path = _beside(image.source.path, image.source.caption)
        pixels = self._pixels(image) if self._generates(existing) else None
        return self._caption(image.source.path, path, existing, pixels)

    def _generates(self, existing: str) -> bool:
        return bool(self.speakers) and not (existing and self.options.existing_captions == "keep")

    def _caption(self, source: Path, path: Path, existing: str, pixels: Image.Image | None) -> int:
        """Write the caption of an image unless it is there already; how many were written."""
        generated = ""
        if pixels is not None and self._generates(existing):
            rgb = on_white(pixels)
            generated = joined(_said(name, speaker, rgb, source) for name, speaker in self.speakers.items())
        caption = new_caption(existing, generated, self.options.existing_captions)
        if not caption or (self.options.target is None and caption == existing):
            return 0
        self.record.write(path, caption.encode("utf-8", "backslashreplace"))
        return 1


def corner_of(pixels: Image.Image, new: NewImage) -> tuple[int, int]:
    """Where the new image begins in the scaled upright one."""
    return focal_corner(on_white(pixels), new.fit) if new.fit.place is None else new.fit.corner(*pixels.size)


def _beside(image: Path, caption: ImageCaption) -> Path:
    """The file that holds an image's caption: the one that there is, unless it is a table, or a new one, which is not
    another image's, too."""
    if caption.source and not caption.source.lower().startswith("metadata."):
        return image.with_name(caption.source)
    return image.with_name(f"{image.name if shares_stem(image) else image.stem}.txt")


def _said(name: str, speaker: CaptionOf, rgb: Image.Image, source: Path) -> str:
    """What a captioner says of an image. HostError where it fails: it is foreign code, which may raise anything."""
    try:
        return speaker(rgb)
    except TinvError:
        raise
    except Exception as error:
        raise HostError(
            message(
                "prepare.captioner_failed",
                "{captioner} failed on {file} ({reason}). What was written until then can be undone.",
                captioner=name,
                file=source.name,
                reason=f"{type(error).__name__}: {error}",
            )
        ) from error


def _unmasked(image: PlannedImage) -> Message:
    return message(
        "prepare.unmasked",
        '"{file}" was given no mask: no plain background was found, or a mask beside it would be another image\'s.',
        file=image.name,
    )


def _missing(name: str) -> Message:
    if name == "wd14":
        return message(
            "prepare.no_wd14", "wd14 needs the file of a tagger (ONNX). Name one, such as a downloaded model.onnx."
        )
    return message(
        "prepare.only_in_webui",
        "{captioner} is a part of the WebUI: use it in the WebUI's tab, or choose wd14.",
        captioner=name,
    )


def _png(image: Image.Image) -> bytes:
    image.info = {}  # profile, EXIF and texts of the source, which no longer fit
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()
