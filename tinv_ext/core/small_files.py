"""Files of text, which are read whole: bounded, so that one of another kind cannot take all memory."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

LARGEST = 1 << 26
"""Bytes: a table with the captions of some 100 000 images is not a third of that."""


def read_small(path: Path, largest: int = LARGEST) -> bytes:
    """The content of a file, a pipe or what the path is; OSError where it cannot be read or is larger than that."""
    with path.open("rb") as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise OSError(errno.EFBIG, f"it is larger than {largest >> 20} MB")
    return data


def parse_json(text: str | bytes) -> Any:
    """What JSON text means, as bytes in UTF-8 or UTF-16, with or without BOM, as editors save it.

    ValueError where it is none, also where it is nested too deeply.
    """
    try:
        return json.loads(text if isinstance(text, str) else text.decode(json.detect_encoding(text)))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
