"""The file of a state as it lies on disk: tensors and texts, with a checksum over both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from tinv_ext.core.checksum import KEY as CHECKSUM
from tinv_ext.core.checksum import checksum
from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.messages import Message, message

FORMAT, FORMAT_1 = "tinv-state-2", "tinv-state-1"
UNREADABLE = (
    SafetensorError,
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    RecursionError,
    AssertionError,
    StopIteration,
    InputError,
)
"""What a file that is not what it says brings about, some of it from inside safetensors, json or the optimizer."""


def contents_of(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and texts of a state's file, both as they were written. `FormatError` if they are not."""
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, str] = file.metadata() or {}
            if about.get("format") not in (FORMAT, FORMAT_1):
                raise FormatError(message("state.other_file", '"{path}" is not the state of a run.', path=path))
            # copies: Windows replaces no file that is still mapped into memory
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (not a dict)
    except UNREADABLE as error:
        raise FormatError(damaged(path, error)) from error
    if about["format"] == FORMAT and about.get(CHECKSUM) != checksum(tensors, about):
        raise FormatError(damaged(path, message("state.checksum", "its checksum is wrong")))
    return tensors, about


def damaged(path: Path, reason: object) -> Message:
    """That a file cannot be used, and why."""
    return message(
        "state.damaged",
        'The state "{path}" is damaged or was written by another program: {reason}.',
        path=path,
        reason=reason if isinstance(reason, str) else str(reason) or type(reason).__name__,
    )


def previous_of(path: Path) -> Path:
    """Where the state before the one at `path` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def has_state(path: Path) -> bool:
    """Whether a state was saved at `path`, be it the last one or the one before."""
    return path.is_file() or previous_of(path).is_file()


def is_older_whole(path: Path, step: int) -> bool:
    """Whether there is an undamaged state of an earlier step at `path`."""
    try:
        return path.is_file() and int(contents_of(path)[1]["step"]) < step
    except (FormatError, KeyError, ValueError):  # it is about to be replaced, and nothing to fall back to
        return False


def facts_of(path: Path) -> dict[str, Any]:
    """The facts that were saved with the state at `path`, or with the one before; none where neither can be read."""
    for file in (path, previous_of(path)):
        try:
            facts = json.loads(contents_of(file)[1]["facts"])
        except (FormatError, KeyError, ValueError, RecursionError):
            continue
        if isinstance(facts, dict):
            return facts
    return {}


def step_of(path: Path) -> int | None:
    """The step of the last state that can be read at `path`; None where there is none."""
    for file in (path, previous_of(path)):
        try:
            return int(contents_of(file)[1]["step"])
        except (FormatError, KeyError, ValueError):
            continue
    return None
