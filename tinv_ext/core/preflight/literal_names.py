"""Which files of captions, templates and preview prompts name words literally, and not by [name].

A word that gets another name is not found there any more. Names within settings are no matter of this file: whoever
changes the name can change them, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tinv_ext.core.data.caption_files import CaptionFiles
from tinv_ext.core.data.captions import FILEWORDS, read_template, read_text, template_path
from tinv_ext.core.data.image_folder import files_in
from tinv_ext.core.data.metadata_file import read_metadata
from tinv_ext.core.errors import InputError
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.sources import Source, usable_sources
from tinv_ext.core.settings import TrainConfig

_PLACES = ("images", "in_json", "dataset_config")


def pattern_of(names: Iterable[str]) -> re.Pattern[str]:
    """Any of the names in a text, in letters of either case, and not as a part of a longer word; the longest first."""
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, longest_first))})(?![^\W_])", re.IGNORECASE)


def files_naming(config: TrainConfig, names: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The files that name each of the words which some file names, and why some files could not be looked at."""
    called = {name.lower(): name for name in names}
    pattern = pattern_of(called.values())
    found: dict[str, dict[str, None]] = {}
    problems: list[str] = []
    for file, text in _texts(config, problems):
        for match in pattern.findall(text):
            found.setdefault(called[match.lower()], {})[file] = None
    return {name: [*files] for name, files in found.items()}, problems


def _texts(config: TrainConfig, problems: list[str]) -> Iterator[tuple[str, str]]:
    """The texts of a run that stand in files, each with its file. What cannot be read is among the `problems`."""
    sources: tuple[Source, ...] = (Source("", config),)
    if _named_images(config):
        try:
            found = usable_sources(config)
            sources, wrong = found.sources, list(found.problems)
        except InputError as error:
            wrong = list(error.problems)
        problems += wrong
    for source in sources:
        try:
            yield from _of_source(source, problems)
        except InputError as error:
            problems += error.problems
    if config.preview_file.strip():
        path = path_given(config.preview_file)
        try:
            yield str(path), read_text(path)
        except InputError as error:
            problems += error.problems


def _of_source(source: Source, problems: list[str]) -> Iterator[tuple[str, str]]:
    """The lines of its template, and its captions where these are used."""
    config = source.config
    if source.is_reg and config.class_prompt.strip():
        return  # stands in the settings
    lines = read_template(config.template)
    yield from ((str(template_path(config.template)), line) for line in lines)
    generated = source.is_reg and config.num_class_images
    if generated or not _named_images(config) or not any(FILEWORDS in line for line in lines):
        return
    if config.in_json.strip():
        path = path_given(config.in_json)
        yield from ((str(path), text) for text in read_metadata(path, config.caption_separator).captions.values())
    else:
        yield from _beside_images(config, problems)


def _named_images(config: TrainConfig) -> bool:
    own = [word.own.get(name, "") for word in config.word_settings for name in _PLACES]
    return any(str(place).strip() for place in (*(getattr(config, name) for name in _PLACES), *own))


def _beside_images(config: TrainConfig, problems: list[str]) -> Iterator[tuple[str, str]]:
    """The captions next to images, in tables, and in the names of images and, as with kohya, of their folder."""
    folder = path_given(config.images)
    masks = path_given(config.mask_folder) if config.mask_folder.strip() else None
    files = CaptionFiles(
        folder, config.caption_regex, config.caption_join, config.class_tokens, config.caption_extension
    )
    for image in sorted(files_in(folder, config.recursive, masks)):
        caption = files.of(image)
        if caption.source or not config.class_tokens:
            yield str(image.with_name(caption.source or image.name)), caption.text
        elif _is_of_folder(config.class_tokens, folder):
            yield str(folder), caption.text
    problems += files.problems


def _is_of_folder(class_tokens: str, folder: Path) -> bool:
    """Whether the caption of images that have none is the name of their folder, such as "10_cat"."""
    return folder.name.endswith(f"_{class_tokens}")
