"""What a person gives for a training, by flags and settings files, under whatever names they know."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinv_ext.cli.command_options import is_unsaid, option_value
from tinv_ext.cli.language import say
from tinv_ext.cli.output import show
from tinv_ext.cli.presets import above
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import path_given, path_problems
from tinv_ext.core.settings import DEFAULTS, TrainConfig, current_names
from tinv_ext.core.settings.adopt import COMMANDS, Adopted, adopt, not_used
from tinv_ext.core.settings.peers import OPTIONS
from tinv_ext.core.settings.peers.reasons import ONE_PROCESS
from tinv_ext.core.settings.settings_file import read_settings_file

if TYPE_CHECKING:
    from tinv_ext.run.run_folder import RunFolder

_HELD = {"carry_out", "command", "config", "config_file", "ending", "problems", "launcher", "events", "steered"}
_NOT_SETTINGS = {*COMMANDS, *_HELD}
_UNSAID = (None, "auto", False)


def tell(notice: str) -> None:
    """Say something beside what the command puts out."""
    show(f"tinv: {say(notice)}", sys.stderr)


def given_settings(options: dict[str, Any], tell: Callable[[str], None] = tell) -> dict[str, Any]:
    """Settings from the file and, above them, from the flags.

    What they say of the model, the device and the run to resume goes into `options`, unless a flag says it. Each option
    that has no use is told. `InputError` with every problem that needs no model, if an option is unknown.
    """
    flags = {name: _text(value) for name, value in options.items() if name not in _NOT_SETTINGS}
    given = above(_from_file(options, tell), flags, tell)
    adopted = adopt(given)
    problems = [*options.pop("problems", ()), *adopted.problems, *_into(options, adopted, given)]
    for notice in (*_launcher_unused(options.pop("launcher", ())), *adopted.notices):
        tell(notice)
    settings = _in_the_usual_place(adopted.settings)
    _find_latest(options, settings, tell)
    # the model is opened beside the log directory, before the settings are judged: it must be a path by then
    if problems or path_problems(str(current_names(settings).get("output", ""))):
        raise InputError([*problems, *TrainConfig.read(settings)[1]])
    return settings


def _in_the_usual_place(settings: Mapping[str, Any]) -> dict[str, Any]:
    """An empty log directory, as forms save their empty fields, is the usual one and not the current folder."""
    return {
        name: value
        for name, value in settings.items()
        if not (is_unsaid(name, value) and "output" in current_names({name: value}))
    }


def _text(value: Any) -> Any:
    """Several values of one option as one text."""
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _from_file(options: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    file = options.get("config") or options.pop("config_file", None)
    if not file:
        return {}
    path = Path(file)
    if path.name and not path.suffix and not path.exists():  # as kohya has it
        path = path.with_suffix(".toml")
    return read_settings_file(path, tell)


def _into(options: dict[str, Any], adopted: Adopted, given: Mapping[str, Any]) -> list[str]:
    """Put what was adopted for the command line among its options, and say what of it is wrong."""
    problems: list[str] = []
    for name, value in adopted.command.items():
        if (name == "resume" and name not in options) or is_unsaid(name, value):  # check resumes nothing
            continue
        called = next((key for key in given if key in OPTIONS and OPTIONS[key].command == name), name)
        try:
            meant = option_value(name, value, called)
        except InputError as error:
            problems += error.problems
            continue
        if options.get(name) in _UNSAID:
            options[name] = meant
    return problems


def _launcher_unused(launcher: list[str]) -> list[Message]:
    if not launcher:
        return []
    return [not_used([" ".join(launcher)], ONE_PROCESS)]


def _is_of(run: RunFolder, word: str, tell: Callable[[str], None]) -> bool:
    """Whether it is one of the word, or of any where none is named. A run whose settings cannot be read is told."""
    try:
        return word in ("", run.config().name)
    except InputError as error:
        tell(error.problems[0])
        return False


def _find_latest(options: dict[str, Any], settings: Mapping[str, Any], tell: Callable[[str], None]) -> None:
    """`--resume latest` is the newest run of this word that can be resumed; if there is none, a new one begins."""
    if str(options.get("resume")) != "latest" or Path("latest").exists():
        return
    from tinv_ext.run.run_folder import find_runs

    current = current_names(settings)
    output = path_given(str(current.get("output", DEFAULTS["output"])))
    word = TrainConfig.read(settings)[0].name  # of several the first
    runs = (run for run in find_runs(output) if run.can_resume and _is_of(run, word, tell))
    found = next(runs, None)
    options["resume"] = found.path if found else None
    if found:
        tell(message("cli.resuming_latest", 'Resuming the run in "{folder}".', folder=found.path))
    else:
        tell(message("cli.no_latest", 'No run in "{output}" can be resumed, so a new one starts.', output=output))
