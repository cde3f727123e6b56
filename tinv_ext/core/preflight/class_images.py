"""Regularization images that the model itself is to generate before the first step: which, where, of what prompts.

As diffusers' DreamBooth has it (train_dreambooth.py: class_data_dir, class_prompt, num_class_images): those that the
folder lacks of a number. The numbers in their names are their seeds, so an image that is generated again is the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinv_ext.core.data.captions import FILEWORDS, NAME
from tinv_ext.core.data.image_folder import holds_images, images_in
from tinv_ext.core.data.images import ImageScan, grouped
from tinv_ext.core.errors import InputError
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.problems import Scanner
from tinv_ext.core.settings import DEFAULTS, TrainConfig


@dataclass(frozen=True)
class ClassImage:
    """One image to generate, and its file."""

    path: Path
    request: ImageRequest


def class_word(config: TrainConfig) -> str:
    """What the word is one of: the class of the subset, or else the initialization text; "" where neither says.

    The word itself is no class: `--token_string` makes it the caption of images without one.
    """
    name = config.name
    of_subset = " ".join(part for part in config.class_tokens.split() if part.lower() != name.lower())
    initial = config.init_text.strip()
    known = initial != DEFAULTS["init_text"] and not config.init_embedding
    return of_subset or (initial if known else "")


def scan_class(config: TrainConfig, look: Scanner) -> ImageScan:
    """The images of the class that there are: at most as many as are asked for, perhaps none."""
    folder = path_given(config.images)
    if not folder.exists() or (folder.is_dir() and not holds_images(folder)):
        return ImageScan(folder, (), ())
    scan = look(folder, config)
    used, rest = scan.pictures[: config.num_class_images], scan.pictures[config.num_class_images :]
    reason = message("preflight.class_images_enough", "is one more than num_class_images asks for")
    skipped = [*scan.skipped, *grouped(folder, [(image.path, reason) for image in rest])]
    return replace(scan, pictures=used, skipped=tuple(skipped))


def class_images(config: TrainConfig, lines: Sequence[str]) -> tuple[ClassImage, ...]:
    """The images that the folder of a subset lacks, of its template `lines` in turn, without the word.

    `InputError` where nothing says what the class is.
    """
    folder = path_given(config.images)
    lacking = config.num_class_images - len(images_in(folder))
    if lacking <= 0:
        return ()
    prompts = _prompts(config, lines)
    files = [folder / f"class-{number:04}.png" for number in range(1, config.num_class_images + 1)]
    free = [(number, file) for number, file in enumerate(files, 1) if not file.exists()][:lacking]
    return tuple(
        ClassImage(file, _request(prompts[(number - 1) % len(prompts)], number, config)) for number, file in free
    )


def problems_of_class_images(images: Sequence[ClassImage]) -> list[Message]:
    """That subsets would generate different images into one folder, of which each would replace the other's."""
    prompts: dict[Path, str] = {}
    for image in images:
        if prompts.setdefault(image.path, image.request.prompt) != image.request.prompt:
            return [
                message(
                    "preflight.class_images_clash",
                    'In the folder "{folder}" (reg_images), images of different classes would be generated, such as '
                    '"{one}" and "{other}". Give each word a folder of its own, or leave reg_images empty.',
                    folder=image.path.parent,
                    one=prompts[image.path],
                    other=image.request.prompt,
                )
            ]
    return []


def on_class_images(images: Sequence[ClassImage]) -> list[Message]:
    """How many images will be generated, and what they show."""
    if not images:
        return []
    return [
        message(
            "preflight.class_images",
            '{count:image of the class is|images of the class are} generated before the first step, such as "{prompt}",'
            ' and kept in "{folder}".',
            count=len(images),
            prompt=images[0].request.prompt,
            folder=images[0].path.parent,
        )
    ]


def _request(prompt: str, seed: int, config: TrainConfig) -> ImageRequest:
    """An image at the size of the training, otherwise made as previews are."""
    return ImageRequest(
        prompt,
        config.preview_negative_prompt.replace(NAME, "").strip(),
        config.preview_steps,
        config.preview_cfg_scale,
        seed,
        config.width,
        config.height,
        config.preview_sampler,
        config.preview_scheduler,
    )


def _prompts(config: TrainConfig, lines: Sequence[str]) -> list[str]:
    """The lines as they would be of any of the class, each once."""
    word = class_word(config)
    prompts = [_without_word(line, word, config.name) for line in lines]
    if not all(prompts):
        raise InputError(
            message(
                "preflight.no_class",
                "Images of the class cannot be generated (num_class_images), because nothing says what the class is. "
                'Write it into class_prompt, such as "a photo of a [name] cat", or set init_text to it.',
            )
        )
    return list(dict.fromkeys(prompts))


def _without_word(line: str, class_: str, name: str) -> str:
    """A line with the class in the place of the word; where the line names the class itself, just without the word.

    Empty where no class is named: the line ends with the word, or is nothing else.
    """
    text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", NAME, line) if name else line
    text = " ".join(text.replace(FILEWORDS, "" if NAME in text else class_).split()).strip(" ,")
    if class_ and class_.lower() not in text.lower():
        return text.replace(NAME, class_)
    if not class_ and text.endswith(NAME):
        return ""
    return " ".join(text.replace(NAME, "").split())
