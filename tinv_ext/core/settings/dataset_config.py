"""kohya's `dataset_config`: subsets of images with settings of their own, as TOML or JSON.

    [general]                     # for all datasets
    [[datasets]]                  # for all its subsets
      [[datasets.subsets]]        # one folder of images

OneTrainer's list of concepts, in its configuration or a file of its own, is taken as subsets, too.

What stands further in wins (sd-scripts docs/config_README-en.md, library/config_util.py). Keys are kohya's, and also
our settings of images and captions; keys that have no use here are told, unknown ones are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tinv_ext.core.data.captions import read_text
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.settings.adopt import COMMANDS
from tinv_ext.core.settings.aliases import ALIASES, CONVERSIONS
from tinv_ext.core.settings.config import DEFAULTS, SETTINGS
from tinv_ext.core.settings.peers import OPTIONS
from tinv_ext.core.settings.peers import reasons as why
from tinv_ext.core.settings.peers.onetrainer_concepts import as_tables, is_concepts, not_trained, trained
from tinv_ext.core.settings.peers.onetrainer_file import is_onetrainers
from tinv_ext.core.settings.peers.option import is_neutral
from tinv_ext.core.settings.setting import converted, type_problem, value_problems
from tinv_ext.core.toml import parse_toml

_OWN = {"image_dir": "images", "metadata_file": "in_json", "num_repeats": "repeats", "batch_size": "batch_size"}
_FLAGS = {"is_reg": False, "loss_weight": 1.0, "words": ""}  # what a subset has beside settings
_UNUSED: Mapping[str, Message] = {
    "network_multiplier": why.ANOTHER_METHOD,
    "conditioning_data_dir": why.ANOTHER_METHOD,
    "custom_attributes": why.ANOTHER_METHOD,
    "cache_info": why.CACHE,
    "debug_dataset": message("peers.debug_dataset", "`tinv check` shows the dataset."),
    "max_token_length": why.LENGTH,
    "validation_seed": message("peers.validation_split", "Set how many images are held out (evaluation_images)."),
    "validation_split": message("peers.validation_split", "Set how many images are held out (evaluation_images)."),
}
_GROUPS = ("images", "captions")
_NOT_OF_A_SUBSET = {"dataset_config", "cache_latents", "latent_sampling", "emphasis"}
_TOP = ("general", "datasets")
_NESTED = ("datasets", "subsets")
_PATHS = ("images", "in_json", "mask_folder")


@dataclass(frozen=True)
class SubsetValues:
    """What a file says of one subset: settings by name, of which dataset it is a part, and the names of the words that
    it teaches, parted by commas; "" where it does not say."""

    settings: Mapping[str, Any]
    dataset: int
    is_reg: bool = False
    loss_weight: float = 1.0
    words: str = ""


@dataclass
class DatasetConfig:
    """What a file says: its subsets, what it has beside them, keys that have no use, and what is wrong in it."""

    subsets: list[SubsetValues] = field(default_factory=list)
    others: dict[str, Any] = field(default_factory=dict)  # settings of the run, in a file that is also its --config
    notices: list[Message] = field(default_factory=list)
    problems: list[Message] = field(default_factory=list)  # without these, the subsets are as they are read


def read_dataset_config(path: Path) -> DatasetConfig:
    """The subsets of a file, and what is wrong in them. `InputError` if it cannot be read or has none."""
    values, notices = _tables(path)
    found = _Reader(path).read(values)
    found.notices += notices
    return found


def moved_tables(path: Path, changed: Callable[[str, Any], Any]) -> dict[str, Any]:
    """What a file says of subsets, as another file can say it: paths are as they are found now, and each value is what
    `changed` makes of the setting's name and its value. Nothing of OneTrainer's concepts, which name no words.

    `InputError` if it cannot be read or has no subsets.
    """
    if _concepts(_parsed(path)):
        return {}
    values, _ = _tables(path)

    def moved(key: str, value: Any) -> Any:
        if isinstance(value, list) and key in _NESTED:
            return [{name: moved(name, one[name]) for name in one} if isinstance(one, dict) else one for one in value]
        name = _OWN.get(key) or ALIASES.get(key, key)
        return changed(name, placed(path, value) if name in _PATHS and isinstance(value, str) else value)

    general = values.get("general")
    common = {"general": {key: moved(key, general[key]) for key in general}} if isinstance(general, dict) else {}
    return {**common, "datasets": moved("datasets", values["datasets"])}


def placed(file: Path, text: str) -> str:
    """A path as it is, or, where nothing is there, as seen from the file that names it."""
    beside = file.parent / text
    return text if Path(text).is_absolute() or Path(text).exists() or not beside.exists() else str(beside)


def _tables(path: Path) -> tuple[dict[str, Any], list[Message]]:
    """The tables of a file, and a sentence on what of OneTrainer's concepts is not used."""
    values = _parsed(path)
    if concepts := _concepts(values):
        tables, left = as_tables(trained(concepts))
        left += not_trained(concepts)
        unused = message("peers.concepts_left", "Of OneTrainer's concepts these are not used: {names:, }.", names=left)
        return tables, [unused] if left else []
    if not isinstance(values, dict) or not _list(values.get("datasets")):
        raise InputError(
            message(
                "settings.dataset_config_empty",
                'The dataset config "{path}" has no [[datasets]] with [[datasets.subsets]].',
                path=path,
            )
        )
    return values, []


def _parsed(path: Path) -> Any:
    text = read_text(path)
    try:
        return json.loads(text) if path.suffix.lower() == ".json" else parse_toml(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            message(
                "settings.dataset_config_invalid",
                'The dataset config "{path}" is not valid TOML or JSON: {error}.',
                path=path,
                error=error,
            )
        ) from error


def _concepts(values: Any) -> Any:
    """OneTrainer's concepts, if the values are some or have some."""
    return values if is_concepts(values) else is_onetrainers(values) and values.get("concepts")


class _Reader:
    """Reads one file, collecting what is wrong and what has no use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found = DatasetConfig()
        self._problems: list[Message] = []
        self._unused: dict[Message, list[str]] = {}

    def read(self, values: Mapping[str, Any]) -> DatasetConfig:
        """All subsets."""
        for key in values.keys() - set(_TOP):
            self._take_other(key, values[key])
        general = self._settings(values.get("general", {}), "[general]")
        for number, dataset in enumerate(_list(values["datasets"]), 1):
            place = f"[[datasets]] {number}"
            if not isinstance(dataset, dict) or not _list(dataset.get("subsets")):
                self._problem(place, message("settings.no_subsets", "it has no [[datasets.subsets]]."))
                continue
            common = {**general, **self._settings(_without(dataset, "subsets"), place)}
            for index, subset in enumerate(_list(dataset["subsets"]), 1):
                self._add_subset(common, subset, number, f"{place}, [[datasets.subsets]] {index}")
        if self._problems and not self._found.subsets:
            raise InputError(self._problems)
        self._found.problems = self._problems
        for reason, keys in self._unused.items():
            self._found.notices.append(
                message("peers.not_used", "Not used: {options:, }. {reason}", options=keys, reason=reason)
            )
        return self._found

    def _add_subset(self, common: Mapping[str, Any], subset: Any, dataset: int, place: str) -> None:
        values = {**common, **self._settings(subset, place)}
        if not values.get("images") and not values.get("in_json"):
            self._problem(place, message("settings.no_image_dir", "it has no image_dir."))
            return
        for name in _PATHS:
            if values.get(name):
                values[name] = placed(self._path, values[name])
        flags = {name: values.pop(name, default) for name, default in _FLAGS.items()}
        self._found.subsets.append(SubsetValues(values, dataset, **flags))

    def _settings(self, table: Any, place: str) -> dict[str, Any]:
        """The settings of a table."""
        if not isinstance(table, dict):
            self._problem(place, message("settings.not_a_table", "it is no table of names and values."))
            return {}
        found: dict[str, Any] = {}
        for key, value in table.items():
            for name, meant in self._meant(key, value, place):
                found.update(self._checked(name, meant, place))
        return found

    def _meant(self, key: str, value: Any, place: str) -> Iterator[tuple[str, Any]]:
        """The settings that a key stands for, with their values."""
        name = _OWN.get(key) or ALIASES.get(key, key)
        option = OPTIONS.get(key)
        if key in _FLAGS or _may_differ(name):
            yield name, value
        elif key in CONVERSIONS and value is False:  # what stands further out may be on
            yield from ((name, DEFAULTS[name]) for name in CONVERSIONS[key](True) if name in DEFAULTS)
        elif key in CONVERSIONS:
            text = ",".join(map(str, value)) if isinstance(value, list) else value
            try:
                yield from CONVERSIONS[key](text).items()
            except InputError as error:
                for problem in error.problems:
                    self._problem(place, problem)
        elif key in _UNUSED or (option and option.reason):
            reason = _UNUSED.get(key) or (option.reason if option else None)
            if reason and not (option and is_neutral(option, value)):
                self._unused.setdefault(reason, [])
                self._unused[reason] += [key] if key not in self._unused[reason] else []
        else:
            self._problem(place, _unknown(key))

    def _checked(self, name: str, value: Any, place: str) -> dict[str, Any]:
        """A value of the type of its setting; none, and a problem, if it cannot be used."""
        default = _FLAGS.get(name, DEFAULTS.get(name))
        if name in _FLAGS:
            value = ", ".join(map(str, value)) if isinstance(value, list) else value
            try:
                return {name: converted(default, value)}
            except (ValueError, OverflowError):
                self._problem(
                    place, message("settings.wrong_flag", "{name} cannot be {value!r}.", name=name, value=value)
                )
                return {}
        about = SETTINGS[name]
        try:
            typed = converted(default, about.chosen(value))
        except (ValueError, OverflowError):
            self._problem(place, type_problem(about, name, default, value))
            return {}
        problems = value_problems(about, name, typed)
        for problem in problems:
            self._problem(place, problem)
        return {} if problems else {name: typed}

    def _take_other(self, key: str, value: Any) -> None:
        name = ALIASES.get(key, key)
        if name in SETTINGS or key in OPTIONS or key in COMMANDS:
            self._found.others[name] = value
        else:
            self._problem(str(key), _unknown(key))

    def _problem(self, place: str, problem: str) -> None:
        self._problems.append(
            message(
                "settings.in_dataset_config",
                "{file}, {place}: {problem}",
                file=self._path.name,
                place=place,
                problem=problem,
            )
        )


def _may_differ(name: str) -> bool:
    """Whether a setting may be another for each subset."""
    if name == "batch_size":
        return True
    return name in SETTINGS and SETTINGS[name].group in _GROUPS and name not in _NOT_OF_A_SUBSET


def _unknown(key: str) -> Message:
    known = [*_OWN, *_FLAGS, *(name for name in SETTINGS if _may_differ(name)), *_UNUSED]
    known += [key for key, name in ALIASES.items() if _may_differ(name)]
    known += [key for key in OPTIONS if key in CONVERSIONS]
    near = get_close_matches(key, known, 1)
    if not near:
        return message("settings.unknown_key", 'there is no key "{key}".', key=key)
    return message(
        "settings.unknown_key_near", 'there is no key "{key}". Did you mean "{near}"?', key=key, near=near[0]
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _without(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name != key}
