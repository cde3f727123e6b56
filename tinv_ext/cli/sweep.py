"""The command `sweep`: from one settings file a list of them, in which some settings take each of several values."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinv_ext.cli.arguments import path_needed
from tinv_ext.cli.embeddings import Add
from tinv_ext.cli.failures import DONE
from tinv_ext.cli.given import tell
from tinv_ext.cli.language import say
from tinv_ext.cli.output import show
from tinv_ext.cli.presets import above
from tinv_ext.cli.sweep_words import (
    Literal,
    clean_axis,
    is_of_word,
    name_of_word,
    read_axis,
    renamed,
    renamed_datasets,
    renamed_table,
    with_values,
    words_of,
)
from tinv_ext.core.atomic import atomic_write, make_folder
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.names import bare_name, name_problems
from tinv_ext.core.printable import printable
from tinv_ext.core.settings import DEFAULTS, SETTINGS, TrainConfig, current_names
from tinv_ext.core.settings.adopt import adopt
from tinv_ext.core.settings.setting import converted
from tinv_ext.core.settings.settings_file import read_settings_file
from tinv_ext.core.settings.words import tables_in
from tinv_ext.core.toml import as_toml, toml_tables

MOST = 1000  # files of one sweep: more is a slip
_SHOWN = 24  # characters of a value in a name


@dataclass(frozen=True)
class _File:
    """A settings file of the sweep: its name without the suffix, what it says, and what its words are called."""

    stem: str
    text: str
    names: tuple[str, ...]


def add_sweep(add: Add) -> None:
    """Add the command with `add(name, carry_out, about)`."""
    about = message("cli.sweep", "write a settings file for each combination of values, for tinv queue")
    parser = add("sweep", _sweep, about)
    base = message("cli.sweep_base", "settings file (.toml or .json) with all that stays the same")
    parser.add_argument("base", type=path_needed, metavar="BASE", help=say(base))
    values = message(
        "cli.sweep_set",
        "the values that a setting takes, such as learning_rate=0.005,0.01, or a key of a word, such as "
        "cat-x1.lr_factor=0.5,1; may be given several times",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=V,V…", help=say(values))
    out = message("cli.sweep_out", "folder for the files")
    parser.add_argument("--out", type=path_needed, required=True, metavar="DIR", help=say(out))
    overwrite = message("cli.sweep_overwrite", "replace files there that say something else")
    parser.add_argument("--overwrite", action="store_true", help=say(overwrite))


def _sweep(options: dict[str, Any]) -> int:
    base: Path = options["base"]
    before = {name: value for name, value in read_settings_file(base, tell).items() if value is not None}
    axes = _axes(options["set"], words_of(current_names(adopt(before).settings)))
    files = _files_of(base, before, axes)
    folder: Path = options["out"]
    _refuse_others(folder, files, options["overwrite"])
    make_folder(folder)
    for one in files:
        with atomic_write(folder / f"{one.stem}.toml") as file:
            file.write(one.text.encode())
        show(str(folder / f"{one.stem}.toml"))
    return DONE


# --- the values -------------------------------------------------------------------------------------------------------


def _axes(texts: Sequence[str], words: Sequence[str]) -> dict[str, list[str]]:
    """The values of each setting, or key of some of the `words`.

    `InputError` with all that is wrong: no values, no such setting, one given twice.
    """
    axes: dict[str, list[str]] = {}
    meant: dict[str, str] = {}
    problems: list[str] = []
    for text in texts:
        name, equals, rest = text.partition("=")
        name = clean_axis(name)
        values = [value.strip() for value in next(csv.reader([rest], skipinitialspace=True), [])]
        if not equals or not name or not any(values):
            problems.append(message("sweep.no_values", 'Write --set as NAME=VALUE,VALUE, not "{text}".', text=text))
            continue
        problems += _axis_problems(name, values, meant, words)
        axes.setdefault(name, values)
    if not texts:
        problems.append(message("sweep.nothing", "Say with --set which settings take which values."))
    if problems:
        raise InputError(problems)
    return axes


def _axis_problems(name: str, values: Sequence[str], meant: dict[str, str], words: Sequence[str]) -> list[str]:
    """What is wrong with one of them beside those before, whose settings are `meant`."""
    problems: list[str] = []
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        problems.append(message("sweep.value_twice", "{name} has {values:, } twice.", name=name, values=twice))
    settings, unusable = read_axis(name, values, words) if is_of_word(name) else _settings_of(name, values[0], words)
    problems += unusable
    for setting in settings:
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
    return problems


def _settings_of(name: str, value: str, words: Sequence[str]) -> tuple[list[str], Sequence[str]]:
    """Which settings, or options of the command line, a name means, and why it cannot take values."""
    adopted = adopt({name: value})
    settings = current_names(adopted.settings)
    unknown = [setting for setting in settings if setting not in SETTINGS]
    if unknown or adopted.notices or not (settings or adopted.command):  # there is none, or it has no use here
        return [], adopted.notices or TrainConfig.read({name: value})[1]
    if "words" in settings:
        return [], [
            message(
                "sweep.whole_list",
                "A list of words takes no values (words). Write cat-x1.lr_factor=0.5,1 for a key of one word, or "
                "words.lr_factor=0.5,1 for one of all words.",
            )
        ]
    problems: list[str] = []
    if "name" in settings and words:
        problems.append(name_of_word(name))
    if "output" in settings:
        problems.append(message("sweep.output", "All results of a sweep go into one log directory: leave output out."))
    return [*settings, *adopted.command], problems


# --- the files --------------------------------------------------------------------------------------------------------


def _files_of(base: Path, before: Mapping[str, Any], axes: Mapping[str, Sequence[str]]) -> list[_File]:
    """A file for each combination. `InputError` with the problems of all, each once."""
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > MOST:
        raise InputError(
            message("sweep.many", "These are {count} combinations; a sweep has at most {most}.", count=count, most=MOST)
        )
    problems: dict[str, None] = {}
    found: dict[str, _File] = {}
    literal = Literal()
    for values in itertools.product(*axes.values()):
        made, wrong = _file_of(base, before, dict(zip(axes, values)), literal)
        problems.update(dict.fromkeys(wrong))
        for name in made.names:
            if found.setdefault(name.lower(), made) is not made:
                problems[_twice_called(name)] = None
    for notice in literal.notices:
        tell(notice)
    if problems:
        raise InputError(problems)
    return [*dict.fromkeys(found.values())]


def _file_of(
    base: Path, before: Mapping[str, Any], chosen: Mapping[str, str], literal: Literal
) -> tuple[_File, list[str]]:
    """The file of one combination, and what is wrong with it."""
    adopted = adopt(above(before, {name: value for name, value in chosen.items() if not is_of_word(name)}, tell))
    listed = current_names(adopted.settings)
    settings = with_values(listed, {name: value for name, value in chosen.items() if is_of_word(name)})
    config, wrong = TrainConfig.read(settings)
    wrong = [*TrainConfig.read(listed)[1], *wrong] if "words" in listed else wrong
    problems = [*adopted.problems, *(wrong or _plan_problems(config))]
    if not config.name and not wrong:
        problems.append(
            message("sweep.no_name", '"{base}" names no embedding. Add a line such as name = "my-word".', base=base)
        )
    behind = "".join(f"-{name}-{_shown(value)}" for name, value in chosen.items() if not _is_name(name, value))
    words = tables_in(config.words)
    called = {str(table["name"]): f"{table['name']}{behind}" for table in words} or {
        _name_of(before): f"{config.name}{behind}"
    }
    problems += [problem for name in called.values() for problem in name_problems(name)]
    if problems or not config.name:
        return _File("", "", ()), problems
    called.pop("", None)  # of a base without a name, no prompt has it
    problems += literal.problems(config, [old for old, new in called.items() if old != new])
    datasets = renamed_datasets(config, base, called)
    stem = f"{config.name}{behind}"
    top = {"name": f"<{stem}>" if config.angle_brackets else stem}
    top |= {name: renamed(name, value, called) for name, value in settings.items() if name not in ("name", "words")}
    top |= {name: value for name, value in adopted.command.items() if name != "resume"}
    if datasets:
        top.pop("dataset_config")
    told = ", ".join(f"{name} = {value}" for name, value in chosen.items())
    comment = f"# {printable(f'{base.name} with {told}')}"
    tables = toml_tables({**datasets, "words": [renamed_table(table, called) for table in words]})
    text = "\n".join([comment, *(_line(*item) for item in top.items()), *tables])
    return _File(stem, f"{text}\n", tuple(dict.fromkeys([stem, *called.values()]))), problems


def _twice_called(name: str) -> Message:
    return message(
        "sweep.same_name",
        'A word would be called "{name}" in two combinations. Use values that differ in letters or digits; without '
        "[[words]], name can also be set in --set.",
        name=name,
    )


def _is_name(name: str, value: str) -> bool:
    """Whether what takes values is the name of the word itself."""
    return "name" in current_names({name: value})


def _name_of(base: Mapping[str, Any]) -> str:
    return bare_name(str(current_names(adopt(base).settings).get("name", "")))


def _plan_problems(config: TrainConfig) -> Sequence[str]:
    """What in settings that are good one by one contradicts itself."""
    from tinv_ext.core.preflight.plan import make_plan

    if config.max_train_epochs:  # how many steps these are, which a warm-up must not take all of, the images decide
        config = config.but(lr_warmup_steps=0.0)
    try:
        make_plan(config, 0, False)
    except InputError as error:
        return error.problems
    return ()


def _line(name: str, value: Any) -> str:
    if name in SETTINGS:
        value = converted(DEFAULTS[name], SETTINGS[name].chosen(value))
    return f"{name} = {as_toml(value if isinstance(value, (bool, int, float)) else str(value))}"


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
