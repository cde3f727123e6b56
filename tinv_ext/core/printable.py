"""What came out of a file, without the characters by which it could steer a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinv_ext.core.messages import Message, with_values

_JOINERS = "\u200c\u200d"  # invisible, but without them Persian, Hindi and emoji are other words


def printable(text: str) -> str:
    """`text` with control characters written out; of a message, in its values, so that it remains one."""
    if isinstance(text, Message):
        return with_values(text, _printable_value)
    return "".join(
        character
        if character.isprintable() or character in _JOINERS
        else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


def printable_lines(text: str) -> str:
    """As `printable`, for several lines, which they remain."""
    return "\n".join(printable(line) for line in text.split("\n"))


def valid_json(value: Any) -> Any:
    """A value as any reader of JSON takes it: text without halves of characters, numbers that are finite or null."""
    if isinstance(value, str):
        return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {valid_json(str(key)): valid_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [valid_json(item) for item in value]
    return value if value is None or isinstance(value, (bool, int)) else valid_json(str(value))


def _printable_value(value: Any) -> Any:
    if isinstance(value, (str, Path)):
        return printable(value if isinstance(value, str) else str(value))
    return [_printable_value(item) for item in value] if isinstance(value, (list, tuple)) else value
