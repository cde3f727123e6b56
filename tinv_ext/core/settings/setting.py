"""What a setting says of itself, and what follows from it: which values it takes, and how a text becomes one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tinv_ext.core.messages import Message, message


@dataclass(frozen=True)
class Setting:
    """Label and help for people, and the values that the setting takes."""

    label: str
    help: str
    minimum: float | None = None
    maximum: float | None = None
    multiple: int | None = None
    zero: bool = False  # 0 is allowed below the minimum, and means what the help says
    choices: Collection[str] = ()  # a table by name stays the table: its rows are the choices
    synonyms: Mapping[str, str] = field(default_factory=dict)  # other words for choices, in small letters
    suggestions: Collection[str] = ()  # offered where others may be typed
    check: Callable[[str], list[str]] | None = None
    group: str = ""

    def named(self, name: str, group: str) -> Setting:
        """The setting `name` of a group, its label and help as messages "setting.<name>.label" and ".help"."""
        label = message(f"setting.{name}.label", self.label)
        return replace(self, label=label, help=message(f"setting.{name}.help", self.help), group=group)

    def chosen(self, value: Any) -> Any:
        """The choice that a value means by another word; any other value as it is."""
        return self.synonyms.get(str(value).strip().lower(), value) if self.synonyms else value


def value_problems(about: Setting, name: str, value: Any) -> list[Message]:
    """What is wrong with a value of the setting `name`."""
    control = {"label": about.label, "name": name, "value": value}
    if about.choices and value not in about.choices:
        return [
            message(
                "settings.not_a_choice",
                '{label} ({name}) must be one of {choices:, }, not "{value}".',
                **control,
                choices=tuple(about.choices),
            )
        ]
    if isinstance(value, str) and not about.check and has_half_character(value):
        return [
            message(
                "settings.half_character",
                "{label} ({name}) contains half a character: {value!r}. Type it again.",
                **control,
            )
        ]
    if isinstance(value, float) and not math.isfinite(value):
        return [message("settings.not_finite", "{label} ({name}) must be a finite number, not {value}.", **control)]
    if about.zero and value == 0:
        return []
    if about.minimum is not None and value < about.minimum:
        return [
            message(
                "settings.too_small",
                "{label} ({name}) must be at least {least}, not {value}.",
                **control,
                least=_number(about.minimum),
            )
        ]
    if about.maximum is not None and value > about.maximum:
        return [
            message(
                "settings.too_large",
                "{label} ({name}) must be at most {most}, not {value}.",
                **control,
                most=_number(about.maximum),
            )
        ]
    if about.multiple and value % about.multiple:
        return [
            message(
                "settings.not_a_multiple",
                "{label} ({name}) must be a multiple of {multiple}, such as {nearest}, not {value}.",
                **control,
                multiple=about.multiple,
                nearest=max(about.multiple, round(value / about.multiple) * about.multiple),
            )
        ]
    return [
        message("settings.invalid", "{label} ({name}): {problem}", **control, problem=problem)
        for problem in (about.check(value) if about.check else ())
    ]


def has_half_character(text: str) -> bool:
    """Whether half of a pair stands alone in a text, as JSON and Windows can have it: no tokenizer takes that."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def type_problem(about: Setting, name: str, default: Any, value: Any) -> Message:
    """That a value is of another type than the default of the setting `name`."""
    if isinstance(value, str) and isinstance(default, (int, float)) and _DECIMAL_COMMA.fullmatch(value.strip()):
        return message(
            "settings.decimal_comma",
            '{label} ({name}) has a comma in "{value}". Write a point, as in "0.5".',
            label=about.label,
            name=name,
            value=value,
        )
    return message(
        "settings.wrong_type",
        "{label} ({name}) must be {type}, not {value!r}.",
        label=about.label,
        name=name,
        type=_TYPES[type(default)],
        value=value,
    )


_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
_TYPES = {
    bool: message("settings.type_bool", "true or false"),
    int: message("settings.type_int", "a whole number"),
    float: message("settings.type_float", "a number"),
    str: message("settings.type_str", "text"),
}


def _number(limit: float) -> str:
    return f"{limit:g}" if isinstance(limit, float) else str(limit)


def converted(default: Any, value: Any) -> Any:
    """`value` as the type of `default`; `ValueError` or `OverflowError` if it is something else."""
    if isinstance(value, str) and not isinstance(default, str):
        value = _parsed(value)
    if isinstance(default, bool):
        if value in (True, False):
            return bool(value)
    elif isinstance(default, str):
        if isinstance(value, str):
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and _fits(default, value):
        return type(default)(value)
    raise ValueError(value)


def _fits(default: Any, value: float) -> bool:
    return isinstance(default, float) or (math.isfinite(value) and value == int(value))


def _parsed(text: str) -> Any:
    """The boolean or number that a text means, or the text itself."""
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
