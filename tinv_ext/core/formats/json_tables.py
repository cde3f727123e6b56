"""Tables written as JSON inside other files, judged before they are parsed: small text can become very many objects."""

from __future__ import annotations

import json
from typing import Any

from tinv_ext.core.errors import FormatError

MAX_BRACKETS = 100_000
"""Lists and tables in one text; a row of a tensor is one, an entry of a safetensors header three."""


def table_of(data: bytes, what: str) -> dict[str, Any]:
    """The table in `data` (UTF-8); `what` says in the sentence of the FormatError what it should have been."""
    if data.count(b"[") + data.count(b"{") > MAX_BRACKETS:
        raise FormatError(f"{what} has more than {MAX_BRACKETS} lists and tables: too many for an embedding.")
    try:
        table = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what} is not JSON ({type(error).__name__}): the file is damaged.") from error
    if not isinstance(table, dict):
        raise FormatError(f"{what} is not a table: the file is damaged.")
    return table
