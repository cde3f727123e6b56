"""What a settings file says beside settings, as the options of the command line that it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tinv_ext.cli.flags import PRECISIONS
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.core.paths import path_given, path_problems

_ON, _OFF = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def is_unsaid(name: str, value: Any) -> bool:
    """Whether a value says nothing: a form's empty field, and the false that kohya's GUI saves for no run to resume."""
    return value is None or (isinstance(value, str) and not value.strip()) or (name == "resume" and value is False)


def option_value(name: str, value: Any, called: str) -> Any:
    """The value of the option `name`, which the file calls `called`. `InputError` if it cannot be one."""
    return _READERS[name](called, value)


def _text(called: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(
            message(
                "cli.not_text",
                "{called} must be text, not {value}. Put it in quotes if that is its name.",
                called=called,
                value=value,
            )
        )
    problems = path_problems(value)
    if problems:
        raise InputError([message("cli.option_problem", "{called}: {problem}", called=called, problem=problems[0])])
    return value


def _path(called: str, value: Any) -> Path:
    return path_given(_text(called, value))


def _one_of(choices: Mapping[str, Any], shown: tuple[str, ...]) -> Callable[[str, Any], Any]:
    def read(called: str, value: Any) -> Any:
        chosen = str(value).strip().lower()
        if chosen in choices:
            return choices[chosen]
        raise InputError(
            message(
                "cli.not_a_choice",
                '{called} must be one of {choices:, }, not "{value}".',
                called=called,
                choices=shown,
                value=value,
            )
        )

    return read


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "model": _text,
    "device": _text,
    "vae": _path,
    "embeddings": _path,
    "resume": _path,
    "precision": _one_of({name: name for name in PRECISIONS}, PRECISIONS),
    "cuda_graphs": _one_of({**dict.fromkeys(("auto", *_ON), "auto"), **dict.fromkeys(_OFF, "off")}, ("auto", "off")),
    "debug_dataset": _one_of({**dict.fromkeys(_ON, True), **dict.fromkeys(_OFF, False)}, ("true", "false")),
}
