"""Settings from a file: of our own, of a run, a preset of the page, or of another trainer."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.settings import ALIASES, DEFAULTS, SETTINGS, config_file
from tinv_ext.core.settings.adopt import not_used
from tinv_ext.core.settings.peers.kohya_gui import from_kohya_gui, is_kohya_guis
from tinv_ext.core.settings.peers.onetrainer_concepts import is_concepts
from tinv_ext.core.settings.peers.onetrainer_file import from_onetrainer, is_onetrainers
from tinv_ext.core.small_files import parse_json, read_small
from tinv_ext.core.toml import parse_toml

_OF_THE_WEBUI = {"embedding_name", "data_root", "template_file"}  # all of them in the file of its trainer, and no other
_SCRIPTS, _YAML = (".sh", ".bat", ".cmd", ".ps1"), (".yaml", ".yml")
_OF_BACKSLASHES = ("Unescaped '\\'", "Invalid hex value", "Invalid \\")
"""What Python's readers of TOML and JSON say of "C:\\images"."""
_OF_A_PRESET = {"name", "settings"}  # as the page exports it; a run's has its version beside them


def read_settings_file(path: Path, tell: Callable[[Message], None] = lambda text: None) -> dict[str, Any]:
    """The settings in a file that somebody names with --config, as `settings_in` has them."""
    try:
        data = read_small(path)
    except OSError as error:
        raise InputError(
            message(
                "settings.file_unreadable",
                'The settings file "{path}" cannot be read: {reason}.',
                path=path,
                reason=error.strerror or error,
            )
        ) from error
    return settings_in(data, path, tell)


def settings_in(data: bytes, path: Path, tell: Callable[[Message], None] = lambda text: None) -> dict[str, Any]:
    """Settings by name from TOML or JSON, in UTF-8 or UTF-16; the config.json of a run is one too.

    Of the files of other programs, what has no meaning here is left out and told. A file that is its own dataset
    config, too, is named by its `path`. `InputError` if it is no file of settings.
    """
    try:
        text = data.decode(json.detect_encoding(data))  # by BOM, or by where the zeros are
        is_json = path.suffix.lower() == ".json" or text.lstrip("\ufeff \t\r\n").startswith("{")  # as no TOML does
        values = parse_json(text) if is_json else parse_toml(text)
        values = _understood(values, path, tell)
    except (ValueError, TypeError) as error:
        raise InputError(_why_invalid(path, data, error)) from error
    if not isinstance(values, dict):
        raise InputError(
            message(
                "settings.file_no_names",
                'The settings file "{path}" must contain names with values, such as steps = 500.',
                path=path,
            )
        )
    return _without_sections(values)


def _why_invalid(path: Path, data: bytes, error: Exception) -> Message:
    """What is wrong with a file that is neither TOML nor JSON, and what to do, where that can be told."""
    suffix = path.suffix.lower()
    if suffix in _SCRIPTS or data.startswith(b"#!") or b"accelerate launch" in data:
        return message(
            "settings.file_is_script",
            'The settings file "{path}" is a script. Put its options after "tinv train" instead: those of kohya and '
            "diffusers work there, too.",
            path=path,
        )
    if suffix in _YAML:
        return message(
            "settings.file_is_yaml",
            'The settings file "{path}" is YAML, which is not read. Write it as TOML, such as steps = 500, or as JSON.',
            path=path,
        )
    if isinstance(error, UnicodeDecodeError):
        return message(
            "settings.file_not_utf8",
            'The settings file "{path}" is not UTF-8 text (see byte {byte}). Save it as UTF-8.',
            path=path,
            byte=error.start,
        )
    if any(text in str(error) for text in _OF_BACKSLASHES):
        return message(
            "settings.file_backslash",
            'A backslash in a text of the settings file "{path}" means something else ({error}). Write paths as '
            "C:/images.",
            path=path,
            error=error,
        )
    return message(
        "settings.file_invalid",
        'The settings file "{path}" is not valid TOML or JSON: {error}.',
        path=path,
        error=error,
    )


def _understood(values: Any, path: Path, tell: Callable[[Message], None]) -> Any:
    """What a file says, by whichever program has written it."""
    if values and is_concepts(values):
        return {"dataset_config": str(path)}
    if not isinstance(values, dict):
        return values
    if values.keys() >= _OF_THE_WEBUI:
        values = _from_webui(values, tell)
    if isinstance(values.get("datasets"), list):  # its own dataset_config, too
        rest = {name: value for name, value in values.items() if name not in ("general", "datasets")}
        values = {**rest, "dataset_config": str(path)}
    if is_kohya_guis(values):
        values = _from_kohya_gui(values, path, tell)
    if is_onetrainers(values):
        values = _from_onetrainer(values, path, tell)
    if not isinstance(values.get("settings"), dict):
        return values
    if values.keys() == _OF_A_PRESET:
        return {"preset": DEFAULTS["preset"], **values["settings"]}
    return _from_run(values, path)


def _from_run(values: dict[str, Any], path: Path) -> Any:
    """The settings of a run's config.json."""
    try:
        config_file.version_of(values)
    except ValueError as error:
        raise InputError(
            message(
                "settings.file_version",
                'The settings file "{path}" gives its version as "{version}", which is no number. Remove that line.',
                path=path,
                version=values["version"],
            )
        ) from error
    return config_file.from_file(values)["settings"]


def _without_sections(values: dict[str, Any]) -> dict[str, Any]:
    """kohya's --config_file has sections, whose names mean nothing (library/train_util.py: read_config_from_file)."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return {
        name: " ".join(map(str, value)) if isinstance(value, list) and name != "words" else value
        for name, value in flat.items()
        if value is not None  # null says nothing
    }


def _from_webui(values: dict[str, Any], tell: Callable[[Message], None]) -> dict[str, Any]:
    """The settings of a run of the WebUI's trainer (v1.10.1 modules/textual_inversion/saving_settings.py)."""
    from tinv_ext.core.data.captions import own_templates  # needs torch, which `--help` does not wait for

    taken = {name: value for name, value in values.items() if name in SETTINGS or name in ALIASES}
    taken.pop("log_directory", None)  # not what was chosen, but the folder of that run
    template = PureWindowsPath(str(taken["template_file"])).name  # whose \\ and / both part folders
    if template.removesuffix(".txt") in own_templates():
        taken["template_file"] = template
    if not taken.get("preview_prompt"):  # it took a training prompt
        taken.pop("preview_prompt", None)
    if taken.get("preview_seed") == -1:
        taken["preview_seed"] = secrets.randbelow(2**32)
    if values.get("varsize") is True:
        taken["resize_mode"] = "buckets"
    left_out = [name for name in values if name not in taken and name not in ("varsize", "preview_prompt")]
    if left_out:
        tell(
            message(
                "settings.webui_left_out",
                "From the WebUI's settings these are not used: {names:, }.",
                names=left_out,
            )
        )
    return taken


def _from_kohya_gui(values: dict[str, Any], path: Path, tell: Callable[[Message], None]) -> dict[str, Any]:
    try:
        found, unused, unknown = from_kohya_gui(values)
    except InputError as error:
        raise InputError(
            message(
                "settings.file_refused",
                'The settings file "{path}" cannot be used. {reason}',
                path=path,
                reason=error.problems[0],
            )
        ) from error
    for reason in dict.fromkeys(reason for _, reason in unused):
        tell(not_used([name for name, why in unused if why == reason], reason))
    if unknown:
        tell(
            message(
                "settings.kohya_gui_left_out",
                "From the settings of kohya's GUI these are not known, and not used: {names:, }.",
                names=unknown,
            )
        )
    return found


def _from_onetrainer(values: dict[str, Any], path: Path, tell: Callable[[Message], None]) -> dict[str, Any]:
    taken, left = from_onetrainer(values, str(path))
    if left:
        tell(
            message(
                "settings.onetrainer_left_out",
                "Of OneTrainer's configuration, {taken:setting is|settings are} used; {left:is|are} not, such as "
                "{names:, }. See docs/coming-from.md.",
                taken=len(taken),
                left=len(left),
                names=left[:5],
            )
        )
    return taken
