"""Arguments written as text, as kohya's `--optimizer_args` takes them: weight_decay=0.01 betas=0.9,0.999."""

from __future__ import annotations

import ast
import re
from typing import Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message

_NAME = re.compile(r"(?:^|[\s,;])\s*([A-Za-z_]\w*)\s*=(?!=)")
_WORDS = {"true": True, "false": False, "none": None}


def read_arguments(text: str) -> dict[str, Any]:
    """Values by name. `InputError` with a sentence for each part that is not name=value, or comes twice.

    A value is a Python literal, as in kohya's trainers, true, false or none in any case, or else a text. Blanks, commas
    or semicolons stand between arguments.
    """
    found = list(_NAME.finditer(text))
    problems = []
    if not_named := text[: found[0].start() if found else None].strip(" ,;\n\t"):
        problems.append(_not_named(not_named))
    arguments: dict[str, Any] = {}
    for match, following in zip(found, [*found[1:], None]):
        name, value = match[1], text[match.end() : following.start() if following else None].strip(" ,;\n\t")
        if not value:
            problems.append(_not_named(f"{name}="))
        elif name in arguments:
            problems.append(message("settings.argument_twice", "{name} is given twice. Keep one.", name=name))
        arguments[name] = _value(value)
    if problems:
        raise InputError(problems)
    return arguments


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _not_named(text: str) -> str:
    return message(
        "settings.not_an_argument",
        '"{text}" is not name=value. Write arguments as in "weight_decay=0.01 betas=0.9,0.999".',
        text=text,
    )


def argument_problems(text: str) -> list[str]:
    """Why a text is not a list of arguments."""
    try:
        read_arguments(text)
    except InputError as error:
        return list(error.problems)
    return []
