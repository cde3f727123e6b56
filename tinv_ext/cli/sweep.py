"""The command `sweep`: from one settings file a list of them, in which some settings take each of several values."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinv_ext.cli.embeddings import Add
from tinv_ext.cli.failures import DONE
from tinv_ext.cli.given import tell
from tinv_ext.cli.language import say
from tinv_ext.cli.output import show
from tinv_ext.cli.presets import above
from tinv_ext.cli.settings_file import read_settings_file
from tinv_ext.core.atomic import atomic_write, make_folder
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.core.names import bare_name, name_problems
from tinv_ext.core.printable import printable
from tinv_ext.core.settings import DEFAULTS, SETTINGS, TrainConfig, current_names
from tinv_ext.core.settings.adopt import adopt
from tinv_ext.core.settings.setting import converted

MOST = 1000  # files of one sweep: more is a slip
_SHOWN = 24  # characters of a value in a name
_TOML = {"\x7f": "\\u007f"}  # what JSON leaves and TOML forbids in a text


@dataclass(frozen=True)
class _File:
    """A settings file of the sweep: its name without the suffix, and what it says."""

    stem: str
    text: str


def add_sweep(add: Add) -> None:
    """Add the command with `add(name, carry_out, about)`."""
    about = message("cli.sweep", "write a settings file for each combination of values, for tinv queue")
    parser = add("sweep", _sweep, about)
    base = message("cli.sweep_base", "settings file (.toml or .json) with all that stays the same")
    parser.add_argument("base", type=Path, metavar="BASE", help=say(base))
    values = message(
        "cli.sweep_set", "the values that a setting takes, such as learning_rate=0.005,0.01; may be given several times"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=V,V…", help=say(values))
    out = message("cli.sweep_out", "folder for the files")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=say(out))
    overwrite = message("cli.sweep_overwrite", "replace files there that say something else")
    parser.add_argument("--overwrite", action="store_true", help=say(overwrite))


def _sweep(options: dict[str, Any]) -> int:
    axes = _axes(options["set"])
    files = _files_of(options["base"], axes)
    folder: Path = options["out"]
    _refuse_others(folder, files, options["overwrite"])
    make_folder(folder)
    for one in files:
        with atomic_write(folder / f"{one.stem}.toml") as file:
            file.write(one.text.encode())
        show(str(folder / f"{one.stem}.toml"))
    return DONE


# --- the values -------------------------------------------------------------------------------------------------------


def _axes(texts: Sequence[str]) -> dict[str, list[str]]:
    """The values of each setting. `InputError` with all that is wrong: no values, no such setting, one given twice."""
    axes: dict[str, list[str]] = {}
    meant: dict[str, str] = {}
    problems: list[str] = []
    for text in texts:
        name, equals, rest = text.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        values = [value.strip() for value in next(csv.reader([rest], skipinitialspace=True), [])]
        if not equals or not name or not any(values):
            problems.append(message("sweep.no_values", 'Write --set as NAME=VALUE,VALUE, not "{text}".', text=text))
            continue
        problems += _axis_problems(name, values, meant)
        axes.setdefault(name, values)
    if not texts:
        problems.append(message("sweep.nothing", "Say with --set which settings take which values."))
    if problems:
        raise InputError(problems)
    return axes


def _axis_problems(name: str, values: Sequence[str], meant: dict[str, str]) -> list[str]:
    """What is wrong with one of them beside those before, whose settings are `meant`."""
    problems: list[str] = []
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        problems.append(message("sweep.value_twice", "{name} has {values:, } twice.", name=name, values=twice))
    adopted = adopt({name: values[0]})
    settings = current_names(adopted.settings)
    unknown = [setting for setting in settings if setting not in SETTINGS]
    if unknown or adopted.notices or not (settings or adopted.command):
        return [*problems, *_unusable(name, values[0], adopted.notices)]
    for setting in [*settings, *adopted.command]:
        if setting in meant:
            problems.append(
                message(
                    "sweep.twice",
                    '--set has "{first}" and "{second}", which are the same setting. Give all of its values at once.',
                    first=meant[setting],
                    second=name,
                )
            )
        meant.setdefault(setting, name)
    if "output" in settings:
        problems.append(message("sweep.output", "All results of a sweep go into one log directory: leave output out."))
    return problems


def _unusable(name: str, value: str, notices: Sequence[str]) -> list[str]:
    """Why a setting of this name cannot take values: there is none, or it has no use here."""
    return list(notices) or TrainConfig.read({name: value})[1]


# --- the files --------------------------------------------------------------------------------------------------------


def _files_of(base: Path, axes: Mapping[str, Sequence[str]]) -> list[_File]:
    """A file for each combination. `InputError` with the problems of all, each once."""
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > MOST:
        raise InputError(
            message("sweep.many", "These are {count} combinations; a sweep has at most {most}.", count=count, most=MOST)
        )
    before = {name: value for name, value in read_settings_file(base, tell).items() if value is not None}
    problems: dict[str, None] = {}
    found: dict[str, _File] = {}
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(axes, values))
        made, wrong = _file_of(base, before, chosen)
        problems.update(dict.fromkeys(wrong))
        if found.setdefault(made.stem.lower(), made) is not made:
            problems[
                message(
                    "sweep.same_name",
                    'Two combinations would be called "{name}". Set name in --set yourself.',
                    name=made.stem,
                )
            ] = None
    if problems:
        raise InputError(problems)
    return list(found.values())


def _file_of(base: Path, before: Mapping[str, Any], chosen: Mapping[str, str]) -> tuple[_File, list[str]]:
    """The file of one combination, and what is wrong with it."""
    adopted = adopt(above(before, chosen, tell))
    settings = current_names(adopted.settings)
    word = str(settings.get("name", ""))
    swept = [f"{name}-{_shown(value)}" for name, value in chosen.items() if "name" not in current_names({name: value})]
    stem = "-".join([bare_name(word), *swept])
    settings = {"name": f"<{stem}>" if bare_name(word) != word else stem, **_without(settings, "name")}
    config, wrong = TrainConfig.read(settings)
    problems = [*adopted.problems, *(wrong or _plan_problems(config))]
    if settings.get("words"):  # each combination would need names of its own for all of them
        problems.append(
            message(
                "sweep.several_words",
                '"{base}" has a list of words, which cannot be swept. Sweep each word in a file of its own.',
                base=base,
            )
        )
    elif not word:
        problems.append(
            message("sweep.no_name", '"{base}" names no embedding. Add a line such as name = "my-word".', base=base)
        )
    else:
        problems += name_problems(stem)
    told = ", ".join(f"{name} = {value}" for name, value in chosen.items())
    lines = [f"# {printable(f'{base.name} with {told}')}", *(_line(*item) for item in settings.items())]
    lines += [_line(*item) for item in adopted.command.items() if item[0] != "resume"]
    return _File(stem, "\n".join(lines) + "\n"), problems


def _plan_problems(config: TrainConfig) -> Sequence[str]:
    """What in settings that are good one by one contradicts itself."""
    from tinv_ext.core.preflight.plan import make_plan

    try:
        make_plan(config, 0, False)
    except InputError as error:
        return error.problems
    return ()


def _without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _line(name: str, value: Any) -> str:
    if name in SETTINGS:
        try:
            value = converted(DEFAULTS[name], SETTINGS[name].chosen(value))
        except (ValueError, OverflowError):
            value = str(value)  # told with the other problems
    text = json.dumps(value if isinstance(value, (bool, int, float)) else str(value), ensure_ascii=False)
    for character, escape in _TOML.items():
        text = text.replace(character, escape)
    return f"{name} = {text}"


def _shown(value: str) -> str:
    """A value as a file name and a prompt can hold it."""
    return re.sub(r"[^\w.+]+|_", "-", value).strip("-.")[:_SHOWN].strip("-.") or "none"


def _refuse_others(folder: Path, files: Sequence[_File], overwrite: bool) -> None:
    """`InputError` where a file would be replaced by one that says something else."""
    if overwrite:
        return
    there = [folder / f"{one.stem}.toml" for one in files]
    other = [
        path.name
        for path, one in zip(there, files)
        if path.exists() and (not path.is_file() or path.read_bytes() != one.text.encode())
    ]
    if other:
        raise InputError(
            message(
                "sweep.exists",
                'In "{folder}" are files of these names with other settings: {names:, }. Choose another folder, or use '
                "--overwrite.",
                folder=folder,
                names=other[:5],
            )
        )
