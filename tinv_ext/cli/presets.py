"""Presets on the command line: shown by `tinv presets`, written out to be edited, and taken from a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from tinv_ext.cli.embeddings import Add
from tinv_ext.cli.failures import DONE
from tinv_ext.cli.language import say
from tinv_ext.cli.output import show
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.core.paths import path_given
from tinv_ext.core.settings import DEFAULTS, SETTINGS, current_names, overridden
from tinv_ext.core.settings.presets import CLASSIC, PRESETS, PURPOSES, preset_values
from tinv_ext.core.settings.settings_file import read_settings_file


def add_presets(add: Add) -> None:
    """Add the command with `add(name, carry_out, about)`."""
    about = message("cli.presets", "show the presets, or write one out as a file to edit and give with --preset FILE")
    parser = add("presets", _presets, about)
    name = message("cli.presets_name", "print this one as TOML")
    parser.add_argument("preset", nargs="?", choices=tuple(PRESETS), help=say(name))
    parser.add_argument("--purpose", choices=tuple(PURPOSES), default="object", help=say(SETTINGS["purpose"].help))


def _presets(options: dict[str, Any]) -> int:
    preset, purpose = options["preset"], options["purpose"]
    if preset:
        show("\n".join(f"{name} = {json.dumps(value)}" for name, value in preset_values(preset, purpose).items()))
        return DONE
    rows = {name: preset_values(name, purpose) for name in PRESETS}
    changing = [name for name in CLASSIC if len({str(values[name]) for values in rows.values()}) > 1]
    table = [["", *rows], *([name, *(str(values[name]) for values in rows.values())] for name in changing)]
    widths = [max(len(cell) for cell in column) for column in zip(*table)]
    show("\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table))
    usual = message("cli.presets_usual", "Without --preset: {preset}.", preset=DEFAULTS["preset"])
    show(say(usual))
    return DONE


def above(below: Mapping[str, Any], flags: Mapping[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """Settings of a file with the flags in their place.

    A preset among the flags may be a file of settings, which come between. One that is a name also replaces what the
    preset of the file had chosen, if that is the settings file of a run, where all of it stands. `InputError` for a
    file that is not there.
    """
    asked = str(flags.get("preset", ""))
    file = path_given(asked)
    if asked and asked not in PRESETS and (_looks_like_a_path(asked) or os.path.isfile(file)):
        if not os.path.isfile(file):
            raise InputError(
                message(
                    "cli.no_preset_file",
                    'There is no settings file "{path}" for --preset. Check the path, or choose one of {presets:, }.',
                    path=asked,
                    presets=tuple(PRESETS),
                )
            )
        own = read_settings_file(file, tell)
        rest = {name: value for name, value in flags.items() if name != "preset"}
        return overridden(_over(below, own), rest)
    return _over(below, flags)


def _looks_like_a_path(text: str) -> bool:
    return any(sign in text for sign in ("/", "\\")) or text.lower().endswith((".toml", ".json"))


def _over(below: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    before = current_names(below)
    if "preset" not in flags or before.get("preset") not in PRESETS:
        return overridden(below, flags)
    purpose = before.get("purpose", DEFAULTS["purpose"])
    chosen = preset_values(before["preset"], purpose if purpose in PURPOSES else DEFAULTS["purpose"])
    kept = {name: value for name, value in before.items() if name not in chosen or str(value) != str(chosen[name])}
    return overridden(kept, flags)
