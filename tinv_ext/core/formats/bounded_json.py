"""JSON inside other files, judged before it is parsed: a short text can become very many objects."""

from __future__ import annotations

import json
from typing import Any

from tinv_ext.core.errors import FormatError
from tinv_ext.core.messages import Message, message

MAX_BRACKETS = 100_000
"""Lists and objects in one text; a row of a tensor is one, an entry of a safetensors header three."""


def parse_json_object(data: bytes, what: Message) -> dict[str, Any]:
    """The JSON object in `data` (UTF-8); a FormatError says that `what` is not one."""
    if data.count(b"[") + data.count(b"{") > MAX_BRACKETS:
        raise FormatError(
            message(
                "formats.json_too_large",
                "{what} has more than {limit} lists and objects, too many for an embedding.",
                what=what,
                limit=MAX_BRACKETS,
            )
        )
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(
            message(
                "formats.json_invalid",
                "{what} is not valid JSON ({error}). The file is damaged.",
                what=what,
                error=type(error).__name__,
            )
        ) from error
    if not isinstance(value, dict):
        raise FormatError(
            message("formats.json_no_object", "{what} is not a JSON object. The file is damaged.", what=what)
        )
    return value
