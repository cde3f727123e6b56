"""A person's own presets: settings saved under a name, one JSON file each, to train like this again."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.core.names import name_problems
from tinv_ext.core.settings import DEFAULTS, TrainConfig
from tinv_ext.core.small_files import parse_json, read_small
from tinv_ext.run.run_folder import write_json

OF_ONE_RUN = (
    *("name", "angle_brackets", "overwrite", "words"),
    *("images", "mask_folder", "reg_images", "dataset_config", "in_json"),
)
"""What a preset leaves to the run: which word, and from which images."""
_LARGEST = 1 << 20
log = logging.getLogger(__name__)
_TOLD: set[Path] = set()  # presets that cannot be read, of which that was said: the page asks every few seconds


@dataclass(frozen=True)
class Preset:
    """Settings that differ from the defaults, by name."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Presets:
    """Those in `folder`, which need not exist yet."""

    folder: Path

    def all(self) -> list[Preset]:
        """Every preset that can be read, by name; what its settings say that cannot be used is left out."""
        files = sorted(self.folder.glob("*.json"), key=lambda file: file.stem.lower()) if self.folder.is_dir() else []
        return [preset for preset in map(_read, files) if preset]

    def save(self, name: str, settings: Mapping[str, Any], replace: bool = False) -> Preset:
        """Save settings under a name. `InputError` with every problem in either, or that the name is taken."""
        problems: list[str] = list(name_problems(name))
        path = self.folder / f"{name}.json"
        if not problems and not replace and os.path.lexists(path):
            problems.append(
                message(
                    "server.preset_exists",
                    'There is a preset "{name}" already. Choose another name, or replace it.',
                    name=name,
                )
            )
        kept, wrong = _kept(settings)
        if problems or wrong:
            raise InputError([*problems, *wrong])
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {"name": name, "settings": kept})
        return Preset(name, kept)

    def delete(self, name: str) -> Preset:
        """Delete a preset; returns what it was, so that it can be saved again."""
        preset = next((one for one in self.all() if one.name == name), None)
        if preset is None:
            raise InputError(message("server.no_preset", 'There is no preset "{name}". Refresh the list.', name=name))
        (self.folder / f"{name}.json").unlink(missing_ok=True)
        return preset


def _kept(settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The settings that a preset keeps, by their current names, and what is wrong with any of them."""
    config, problems = TrainConfig.read(settings)
    values = config.to_dict()
    differing = {name: values[name] for name in values if values[name] != DEFAULTS[name] and name not in OF_ONE_RUN}
    if not differing.keys().isdisjoint(("optimizer", "learning_rate")):
        differing["preset"] = config.preset  # without it, these two would mean another
    return differing, problems


def _read(file: Path) -> Preset | None:
    try:
        settings = parse_json(read_small(file, _LARGEST))["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        _say_once(file, str(error) or type(error).__name__)
        return None
    if not isinstance(settings, dict):
        _say_once(file, "its settings are no table")
        return None
    return Preset(file.stem, _kept({"preset": DEFAULTS["preset"], **settings})[0])  # what it differs from


def _say_once(file: Path, reason: str) -> None:
    """Say once that a preset is not in the list."""
    if file not in _TOLD:
        _TOLD.add(file)
        log.warning('The preset "%s" cannot be read and is left out: %s', file, reason)
