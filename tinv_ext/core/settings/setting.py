"""What a setting says of itself, and what follows from it: which values it takes, and how a text becomes one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Setting:
    """What a person must know of a setting, and which values it takes."""

    group: str
    label: str
    help: str
    minimum: float | None = None
    maximum: float | None = None
    multiple: int | None = None
    zero: bool = False  # 0 is allowed below the minimum, and means what the help says
    choices: tuple[str, ...] = ()
    check: Callable[[str], list[str]] | None = None


def setting(default: Any, group: str, label: str, said: str, **limits: Any) -> Any:
    """A field of `TrainConfig` with its `Setting`."""
    return field(default=default, metadata={"about": Setting(group, label, said, **limits)})


def value_problems(about: Setting, name: str, value: Any) -> list[str]:
    """A sentence if the setting `name` cannot have this value."""
    said = f"{about.label} ({name})"
    if about.choices and value not in about.choices:
        return [f'{said} is "{value}"; choose one of: {", ".join(about.choices)}.']
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{said} is {value}; give a finite number."]
    if about.zero and value == 0:
        return []
    if about.minimum is not None and value < about.minimum:
        return [f"{said} is {value}; the least is {_number(about.minimum)}."]
    if about.maximum is not None and value > about.maximum:
        return [f"{said} is {value}; the most is {_number(about.maximum)}."]
    if about.multiple and value % about.multiple:
        return [
            f"{said} is {value}; it must be a multiple of {about.multiple}, such as {_round(value, about.multiple)}."
        ]
    return [f"{said}: {problem}" for problem in about.check(value)] if about.check else []


def _number(limit: float) -> str:
    return f"{limit:g}" if isinstance(limit, float) else str(limit)


def _round(value: int, multiple: int) -> int:
    return max(multiple, round(value / multiple) * multiple)


def converted(default: Any, value: Any) -> Any:
    """`value` as the type of `default`; `ValueError` or `OverflowError` if it is something else."""
    if isinstance(value, str) and not isinstance(default, str):
        value = _spoken(value)
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


def _spoken(text: str) -> Any:
    """The boolean or number that a text means, or the text itself."""
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def kind_of(default: Any) -> str:
    """What a value must be to take the place of `default`, in words."""
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[type(default)]
