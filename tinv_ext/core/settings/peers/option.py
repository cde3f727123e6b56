"""What an option of another program is here: a setting by another name, several settings, or nothing, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tinv_ext.core.messages import Message

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Option:
    """One option. It has one of `setting`, `command`, `converts` and `reason`; `shown` is for the docs.

    `setting` is the name of a setting, `command` that of an option of the command line ("model"). `converts` gives
    settings (or options of the command line) by name for a value; `InputError` if that cannot be meant. `reason` says
    why the option has no use. `takes` is how many values it has on a command line: "" is one, "?" none, "*" any number.
    `neutral` are the values that ask for nothing else than what is done anyway.
    """

    setting: str = ""
    command: str = ""
    converts: Callable[[Any], Values] | None = None
    reason: Message | None = None
    shown: str = ""
    takes: str = ""
    neutral: tuple[str, ...] = ()


def to(setting: str, takes: str = "") -> Option:
    """The setting `setting` by another name."""
    return Option(setting=setting, takes=takes)


def command(name: str, shown: str = "", takes: str = "") -> Option:
    """An option of the command line by another name."""
    return Option(command=name, shown=shown or f"--{name}", takes=takes)


def into(converts: Callable[[Any], Values], shown: str, takes: str = "") -> Option:
    """Settings that follow from a value."""
    return Option(converts=converts, shown=shown, takes=takes)


def unused(reason: Message, takes: str = "", neutral: tuple[str, ...] = ()) -> Option:
    """An option that has no use here."""
    return Option(reason=reason, takes=takes, neutral=neutral)


def is_neutral(option: Option, value: Any) -> bool:
    """Whether an unused option's value asks for nothing: off, empty, zero, or what is done anyway."""
    text = str(value if value is not None else "").strip().lower()
    if text in ("", "false", "no", "off", "none", "[]", "{}") or text in (name.lower() for name in option.neutral):
        return True
    try:
        return float(text) == 0
    except ValueError:
        return False


def is_on(value: Any) -> bool:
    """Whether the value of an option without values turns it on."""
    return str(value).strip().lower() in ("true", "yes", "on", "1")
