"""Tags by an ONNX model of the WD14 kind (SmilingWolf's wd-…-tagger), where onnxruntime and such a file are there.

The model takes 448 × 448 pixels in BGR from 0 to 255, batch first, colours last, and gives a probability for each line
of the selected_tags.csv beside it (kohya sd-scripts finetune/tag_images_by_wd14_tagger.py).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinv_ext.core.data.captions import read_text
from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.messages import message
from tinv_ext.prepare.captions import CaptionOf

TAGS = "selected_tags.csv"
_SIDE = 448
_RATING = "9"  # category of tags such as "explicit", which are no part of a caption
_SPECIAL = re.compile(r"([\\()])")
_LONGEST_FACE = 3  # letters of a tag such as ^_^, whose underscore is none


@dataclass(frozen=True)
class TagRules:
    """Which tags a caption has and how: meanings are those of the WebUI's settings for DeepBooru."""

    threshold: float = 0.35
    sort_alpha: bool = False
    use_spaces: bool = True
    escape: bool = True
    filter_tags: str = ""


@dataclass(frozen=True)
class Wd14:
    """The tagger in the file `model`, as a `Captioner`."""

    model: Path
    rules: TagRules = TagRules()

    def check(self) -> None:
        """`InputError` with every reason why it cannot be used."""
        tags = self.model.with_name(TAGS)
        problems = [] if 0 <= self.rules.threshold <= 1 else [_bad_threshold(self.rules.threshold)]
        problems += [
            message("prepare.tagger_file_missing", 'There is no "{path}". The tagger needs it.', path=path)
            for path in (self.model, tags)
            if not path.is_file()
        ]
        try:
            import onnxruntime  # noqa: F401 (only whether it is there)
        except ImportError as error:
            problems.append(
                message(
                    "prepare.no_onnxruntime",
                    "wd14 needs onnxruntime ({reason}). Install it with: pip install onnxruntime",
                    reason=error,
                )
            )
        if problems:
            raise InputError(problems)

    @contextmanager
    def __call__(self) -> Iterator[CaptionOf]:
        """Load the model for as long as the context is open. `InputError` if it cannot be used."""
        self.check()
        names, session = read_tags(self.model.with_name(TAGS)), _session(self.model)
        given = session.get_inputs()[0]
        if len(given.shape) != 4 or given.shape[3] != 3:
            raise InputError(_other_input(self.model, given.shape))
        side = given.shape[1] if isinstance(given.shape[1], int) else _SIDE

        def caption(image: Image.Image) -> str:
            scores = session.run(None, {given.name: pixels_of(image, side)})[0][0]
            if len(scores) != len(names):
                raise HostError(
                    message(
                        "prepare.tags_do_not_fit",
                        '"{tags}" has {count:tag|tags}, but the tagger gives {scores}. Take both from one download.',
                        tags=TAGS,
                        count=len(names),
                        scores=len(scores),
                    )
                )
            return tags_of({name: float(score) for name, score in zip(names, scores) if name}, self.rules)

        yield caption


def pixels_of(image: Image.Image, side: int = _SIDE) -> NDArray[np.float32]:
    """An RGB image in the middle of a white square, as the model takes it: (1, side, side, 3), BGR from 0 to 255."""
    longest = max(image.size)
    square = Image.new("RGB", (longest, longest), "white")
    square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
    small = np.asarray(square.resize((side, side), Image.Resampling.LANCZOS), dtype=np.float32)
    return np.ascontiguousarray(small[None, :, :, ::-1])


def tags_of(scores: Mapping[str, float], rules: TagRules) -> str:
    """The caption that probabilities by tag make, "a, b, c"; the likeliest first unless sorted by name."""
    filtered = {tag.strip().replace(" ", "_") for tag in rules.filter_tags.split(",")}
    likely = [tag for tag, score in scores.items() if score >= rules.threshold and tag not in filtered]
    ordered = sorted(likely) if rules.sort_alpha else sorted(likely, key=lambda tag: -scores[tag])
    return ", ".join(_written(tag, rules) for tag in ordered)


def read_tags(path: Path) -> list[str]:
    """The tags of a selected_tags.csv in their order; those of ratings are empty. `InputError` if it is none."""
    rows: Sequence[dict[str, Any]] = list(csv.DictReader(io.StringIO(read_text(path))))
    if not rows or not {"name", "category"} <= rows[0].keys():
        raise InputError(
            message("prepare.no_tags", '"{path}" is no list of tags with the columns name and category.', path=path)
        )
    return ["" if row["category"] == _RATING else str(row["name"]) for row in rows]


def _written(tag: str, rules: TagRules) -> str:
    if rules.use_spaces and len(tag) > _LONGEST_FACE:
        tag = tag.replace("_", " ")
    return _SPECIAL.sub(r"\\\1", tag) if rules.escape else tag


def _session(model: Path) -> Any:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(model), providers=onnxruntime.get_available_providers())
    except Exception as error:  # of its own kinds, which are no public names
        raise InputError(
            message(
                "prepare.not_onnx", '"{path}" cannot be opened as an ONNX model ({reason}).', path=model, reason=error
            )
        ) from error


def _bad_threshold(value: float) -> str:
    return message("prepare.threshold", "The threshold of tags must be from 0 to 1, not {value}.", value=value)


def _other_input(model: Path, shape: Sequence[int | str | None]) -> str:
    return message(
        "prepare.other_input",
        '"{path}" takes an input of {shape: × }, a tagger of the WD14 kind one of 1 × height × width × 3.',
        path=model,
        shape=shape,
    )
