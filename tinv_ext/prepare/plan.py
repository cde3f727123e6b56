"""What becomes of each image: how it is cut and called, what is remarkable about it, and why it is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinv_ext.core.data.image_fit import Fit
from tinv_ext.core.data.images import NOTED_ENLARGEMENT
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.prepare.blur import BLURRED
from tinv_ext.prepare.options import PrepareOptions
from tinv_ext.prepare.scan import SourceImage, name_in, scan, skipped_file
from tinv_ext.prepare.split import places

_LONGEST = 180  # bytes of an image's name that its new name has; a file system takes 255 in all
_NAMED = 3  # files in the way that are named


@dataclass(frozen=True)
class NewImage:
    """An image that will be written, and how it is cut out of its source."""

    path: Path
    fit: Fit


@dataclass(frozen=True)
class PlannedImage:
    """A source image, what is remarkable about it by kind, and the images that are made of it.

    `left_out` is the kind of finding because of which it is not used; empty where it is.
    """

    source: SourceImage
    name: str
    findings: Mapping[str, Message]
    left_out: str
    made: tuple[NewImage, ...]

    def outcome(self) -> Message | str:
        """What becomes of it: left out, or so many images of a size; empty where it stays as it is."""
        if self.left_out:
            return message("prepare.outcome_left_out", "left out")
        if not self.made:
            return ""
        size = f"{self.made[0].fit.width}×{self.made[0].fit.height}"
        return message("prepare.outcome", "→ {count:image|images} of {size}", count=len(self.made), size=size)


@dataclass(frozen=True)
class Plan:
    """What a preparation will do. Nothing has been written yet."""

    options: PrepareOptions
    images: tuple[PlannedImage, ...]
    skipped: tuple[Message, ...]
    notices: tuple[Message, ...]

    @property
    def used(self) -> tuple[PlannedImage, ...]:
        """The images that are not left out."""
        return tuple(image for image in self.images if not image.left_out)

    def summary(self) -> Iterator[Message]:
        """How many images come of how many, and how many have which finding."""
        yield self._counts()
        counts = Counter(kind for image in self.images for kind in image.findings)
        if counts:
            found = [
                message("prepare.kind_count", "{kind} ({count})", kind=label, count=counts[kind])
                for kind, label in KINDS.items()
                if counts[kind]
            ]
            yield message("prepare.found", "Found: {kinds:, }.", kinds=found)
        if len(self.used) < len(self.images):
            yield message("prepare.left_out", "Left out: {count}.", count=len(self.images) - len(self.used))
        yield from self.notices

    def _counts(self) -> Message:
        options, count = self.options, len(self.images)
        if options.target is None:
            return message("prepare.counts", '{count:image|images} in "{source}".', count=count, source=options.source)
        return message(
            "prepare.counts_made",
            '{count:image|images} in "{source}", {made:image|images} for "{target}".',
            count=count,
            source=options.source,
            made=sum(len(image.made) for image in self.used),
            target=options.target,
        )


KINDS = {
    "duplicates": message("prepare.duplicates", "duplicates"),
    "blurred": message("prepare.blurred", "blurred"),
    "small": message("prepare.small", "too small"),
    "empty": message("prepare.empty", "nearly empty"),
    "bars": message("prepare.bars", "letterbox bars"),
    "caption": message("prepare.no_caption", "no caption"),
}


def plan(options: PrepareOptions) -> Plan:
    """Look at all images and say what will become of them. `InputError` with every problem; nothing is written."""
    options.check()
    found = scan(options)
    images = tuple(_planned(index, image, options) for index, image in enumerate(found.images))
    problems = [*_in_the_way(options, images), *_none_left(images)]
    if problems:
        raise InputError(problems)
    skipped = tuple(skipped_file(options.source, path, reason) for path, reason in found.skipped)
    return Plan(options, images, skipped, found.notices)


def _planned(index: int, image: SourceImage, options: PrepareOptions) -> PlannedImage:
    found = dict(findings(image, options))
    left_out = next((kind for kind in found if kind in options.leave_out), "")
    made = () if left_out or options.target is None else tuple(_made(index, image, options, options.target))
    return PlannedImage(image, name_in(options.source, image.path), found, left_out, made)


def findings(image: SourceImage, options: PrepareOptions) -> Iterator[tuple[str, Message]]:
    """What is remarkable about an image that is to come to the size of the options: kinds of `KINDS`, in words."""
    width, height = _content_size(image, options)
    enlargement = max(options.width / width, options.height / height)
    if image.empty:
        share = message(
            "prepare.is_empty", "is nearly empty: {share:.1%} of it is not its main colour", share=image.shown
        )
        yield "empty", share
    elif image.same_as:
        yield (
            "duplicates",
            message("prepare.is_duplicate", "shows the same as {file}", file=name_in(options.source, image.same_as)),
        )
    if image.blur >= BLURRED and not image.empty:
        yield (
            "blurred",
            message("prepare.is_blurred", "is blurred ({blur:.2f}; sharp images are below 0.5)", blur=image.blur),
        )
    if enlargement > NOTED_ENLARGEMENT:
        yield (
            "small",
            message(
                "prepare.is_small",
                "is small for {width}×{height}: it would be enlarged {times:.1f} times",
                width=options.width,
                height=options.height,
                times=enlargement,
            ),
        )
    if image.content:
        cut = message("prepare.bars_cut", "has letterbox bars, which are cut off")
        yield "bars", cut if options.trim_bars else message("prepare.has_bars", "has letterbox bars")
    if not image.caption.source:
        yield "caption", message("prepare.has_no_caption", "has no caption")


def _content_size(image: SourceImage, options: PrepareOptions) -> tuple[int, int]:
    """Width and height of what is prepared."""
    if not options.trim_bars or not image.content:
        return image.width, image.height
    left, top, right, bottom = image.content
    return right - left, bottom - top


def _made(index: int, image: SourceImage, options: PrepareOptions, target: Path) -> Iterator[NewImage]:
    """The images made of one, called as v1.6 modules/textual_inversion/preprocess.py does.

    What such a name begins with is not taken for a caption (`core.data.captions.words_of_name`).
    """
    stem = os.fsencode(image.path.stem)[:_LONGEST].decode("utf-8", "ignore")
    fits = [(fit, flip) for fit in _fits(image, options) for flip in ("none", *options.flip)]
    for number, (fit, flip) in enumerate(fits):
        yield NewImage(target / f"{index:05}-{number}-{stem}.png", replace(fit, flip=flip))


def _fits(image: SourceImage, options: PrepareOptions) -> list[Fit]:
    width, height = _content_size(image, options)
    if options.crop == "none":
        return [Fit(width, height)]
    fit = Fit(options.width, options.height)
    found = places(width, height, fit, options.split_threshold, options.overlap_ratio) if options.split else ()
    if found:
        return [Fit(options.width, options.height, place=place) for place in found]
    return [Fit(options.width, options.height, place=None)] if options.crop == "focal" else [fit]


def _in_the_way(options: PrepareOptions, images: Sequence[PlannedImage]) -> list[Message]:
    """The problem of files in the target folder, unless they may be replaced."""
    if options.target is None or options.overwrite or not options.target.is_dir():
        return []
    there = sorted(path.name for path in options.target.iterdir() if not path.name.startswith("."))
    if not there:
        return []
    return [
        message(
            "prepare.in_the_way",
            'There are {count:file|files} in "{target}" already: {names:, } … Choose an empty folder, undo the earlier '
            'preparation, or turn on "Replace files of the same name" (overwrite).',
            count=len(there),
            target=options.target,
            names=there[:_NAMED],
        )
    ]


def _none_left(images: Sequence[PlannedImage]) -> list[Message]:
    if not all(image.left_out for image in images):
        return []
    return [
        message("prepare.none_left", "All {count} images would be left out. Leave out fewer kinds.", count=len(images))
    ]
