"""Where a run's images come from: one folder, or the `N_name` folders in it, each with its own repeats.

A source is a run's settings with its own in their place, so whatever can be set for a run can be set for a source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from tinv_ext.core.data.image_folder import folders_with_images, holds_images
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import path_given
from tinv_ext.core.settings import TrainConfig

_REPEATED = re.compile(r"(\d{1,6})_(.*)")


@dataclass(frozen=True)
class Source:
    """One folder of images, with the settings for it. `name` is "" where there is no other; the loss of each image is
    multiplied by `weight`."""

    name: str
    config: TrainConfig
    weight: float = 1.0


@dataclass(frozen=True)
class Sources:
    """All sources of a run, the settings that are the whole run's, and what people should know of them."""

    config: TrainConfig
    sources: tuple[Source, ...]
    notices: tuple[Message, ...] = ()


def sources_of(config: TrainConfig) -> Sources:
    """The sources that the settings of a run name."""
    folder = path_given(config.images)
    below = [] if config.recursive or not config.images.strip() else _repeated_folders(folder)
    if not below:
        return Sources(config, (Source("", config),))
    sources = []
    notices = []
    for path in folders_with_images(folder):
        repeats, words = _repeats(path.name)
        if repeats:
            sources.append(Source(path.name, config.but(images=str(path), repeats=repeats, class_tokens=words)))
        else:
            notices.append(_not_repeated(path.name))
    return _of(config, sources, notices)


def _of(config: TrainConfig, sources: list[Source], notices: list[Message]) -> Sources:
    """In what all sources agree, it is what the whole run has; a single one needs no name."""
    of_all = [source.config.to_dict() for source in sources]
    common = {name: value for name, value in of_all[0].items() if all(one[name] == value for one in of_all)}
    if len(sources) == 1:
        sources = [replace(sources[0], name="")]
    return Sources(config.but(**common), tuple(sources), tuple(notices))


def _repeated_folders(folder: Path) -> list[Path]:
    """The sub-folders called `N_name` that hold images, of a folder that holds none itself.

    As kohya's trainers take them (sd-scripts library/config_util.py, generate_dreambooth_subsets_config_by_subdirs).
    """
    if not folder.is_dir() or holds_images(folder):
        return []
    return [path for path in folders_with_images(folder) if _repeats(path.name)[0]]


def _repeats(name: str) -> tuple[int, str]:
    """How often the images of a folder called so come in an epoch, and the rest of its name; 0 if it does not say."""
    match = _REPEATED.fullmatch(name)
    return (int(match[1]), match[2]) if match else (0, "")


def _not_repeated(name: str) -> Message:
    return message(
        "preflight.folder_not_repeated",
        'The folder "{name}" is not used: its name does not begin with how often its images are repeated, as in '
        '"10_{name}".',
        name=name,
    )
