"""What a preparation is to do. Names and meanings are those of the WebUI's Extras tab and, before v1.8, its Preprocess.

v1.10.1 extensions-builtin/postprocessing-for-training/scripts, modules/postprocessing.py; v1.6 modules/ui.py.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message

CROPS = ("center", "focal", "none")
FLIPS = ("horizontal", "vertical", "both")
FINDINGS = ("duplicates", "blurred", "small", "empty")
"""What can be left out because of it."""
CAPTIONERS = ("deepbooru", "blip", "wd14")
"""In the order in which a caption has their texts."""
EXISTING = ("ignore", "keep", "prepend", "append")
"""What becomes of a caption that is there: it is replaced, it stays, or it goes before or after the new one."""
SIDES, STEP = (64, 4096), 8
"""Pixels: the least and the greatest side of new images, and what it is a multiple of."""


@dataclass(frozen=True)
class PrepareOptions:
    """One preparation: from the images in `source` into `target`; without a target only captions, where the images are.

    `width` and `height` are pixels. An image is split where it is longer than the target's shape by more than 1 /
    `split_threshold`; neighbouring pieces share `overlap_ratio` of their length. `mask_backgrounds`: an image without a
    mask is given one that leaves out its plain background (`plain_background.py`).
    """

    source: Path
    target: Path | None = None
    width: int = 512
    height: int = 512
    crop: str = "center"
    trim_bars: bool = False
    mask_backgrounds: bool = False
    split: bool = False
    split_threshold: float = 0.5
    overlap_ratio: float = 0.2
    flip: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    captioners: tuple[str, ...] = ()
    existing_captions: str = "keep"
    recursive: bool = False
    overwrite: bool = False

    @property
    def folder(self) -> Path:
        """Where files are written."""
        return self.target or self.source

    def check(self) -> None:
        """`InputError` with all that is wrong in itself: the source folder is looked at when it is scanned."""
        problems = [*self._choices(), *self._numbers(), *self._folders()]
        if problems:
            raise InputError(problems)

    def _choices(self) -> list[Message]:
        given: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
            "crop": ((self.crop,), CROPS),
            "flip": (self.flip, FLIPS),
            "leave_out": (self.leave_out, FINDINGS),
            "caption": (self.captioners, CAPTIONERS),
            "existing_captions": ((self.existing_captions,), EXISTING),
        }
        wrong = [(name, one, known) for name, (ones, known) in given.items() for one in ones if one not in known]
        return [_no_choice(name, one, known) for name, one, known in wrong]

    def _numbers(self) -> list[Message]:
        least, most = SIDES
        problems = [
            message(
                "prepare.size",
                '"{name}" must be a multiple of {step} from {least} to {most}, not {value}.',
                name=name,
                value=value,
                least=least,
                most=most,
                step=STEP,
            )
            for name, value in (("width", self.width), ("height", self.height))
            if value % STEP or not least <= value <= most
        ]
        for name, value, highest in (
            ("split_threshold", self.split_threshold, 1.0),
            ("overlap_ratio", self.overlap_ratio, 0.9),
        ):
            if not 0 <= value <= highest:
                problems.append(
                    message(
                        "prepare.ratio",
                        '"{name}" must be from 0 to {most}, not {value}.',
                        name=name,
                        most=highest,
                        value=value,
                    )
                )
        return problems

    def _folders(self) -> list[Message]:
        if self.target is None:
            changes = self.trim_bars or self.split or self.flip or self.leave_out
            return [_needs_target()] if changes else []
        source, target = (Path(os.path.realpath(path)) for path in (self.source, self.target))
        if source == target or (self.recursive and source in target.parents):
            return [
                message(
                    "prepare.target_is_source",
                    'The new images cannot go into "{target}", which is read. Give another folder.',
                    target=self.target,
                )
            ]
        there = next((path for path in (self.target, *self.target.parents) if os.path.lexists(path)), None)
        if there is not None and not there.is_dir():
            return [message("prepare.target_is_file", '"{target}" is a file. Give a folder.', target=there)]
        return []


def chosen(text: str) -> tuple[str, ...]:
    """The choices of "a, b", each once."""
    return tuple(dict.fromkeys(part for part in (part.strip().lower() for part in text.split(",")) if part))


def _no_choice(name: str, given: str, known: Collection[str]) -> Message:
    return message(
        "prepare.no_choice",
        '"{name}" cannot be "{given}". Choose from {known:, }.',
        name=name,
        given=given,
        known=known,
    )


def _needs_target() -> Message:
    return message(
        "prepare.needs_target",
        "Images are never changed where they are. Name a folder for the new images.",
    )
