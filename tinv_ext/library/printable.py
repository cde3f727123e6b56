"""What came out of a file, without the characters by which it could steer a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinv_ext.core.messages import Message, with_values


def printable(text: str) -> str:
    """`text` with control characters written out; of a message, in its values, so that it remains one."""
    if isinstance(text, Message):
        return with_values(text, _printable_value)
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


def _printable_value(value: Any) -> Any:
    if isinstance(value, (str, Path)):
        return printable(value if isinstance(value, str) else str(value))
    return [_printable_value(item) for item in value] if isinstance(value, (list, tuple)) else value
