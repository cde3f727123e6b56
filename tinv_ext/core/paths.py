"""Paths as people enter them."""

from __future__ import annotations

import os
from pathlib import Path

from tinv_ext.core.messages import message

LOG_DIRECTORY = "textual_inversion"
"""Where runs go unless another place is set, as in the WebUI (v1.10.1 modules/ui.py)."""
MAX_PATH, MAX_PART = 4000, 255
"""Bytes (UTF-8) of a path and of each name in it that file systems take."""


def path_given(text: str) -> Path:
    """The path that a text means: without blanks and quotes around it, and with ~ as the user's own folder."""
    path = Path(text.strip().strip("\"'"))
    try:
        return path.expanduser()
    except RuntimeError:  # "~name" where there is no such user: then the folder is really called that
        return path


def is_file(path: Path) -> bool:
    """Whether there is such a file. A name that is too long for one, as of what may lie beside another file, is none's;
    `Path.is_file` raises there (before Python 3.14)."""
    return os.path.isfile(path)


def impossible_path(path: str | os.PathLike[str]) -> list[str]:
    """Why the system cannot even be asked for a path; unlike `path_problems`, names in any bytes may be in it."""
    text = os.fspath(path)
    try:
        possible = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        possible = False
    return [] if possible else path_problems(text)


def path_problems(text: str) -> list[str]:
    """Why no system can have such a path; nothing where it only does not exist."""
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    try:
        coded = text.encode("utf-8")
    except UnicodeEncodeError:
        return [
            message("paths.half_character", "The path {path!r} contains half a character. Type it again.", path=shown)
        ]
    if "\0" in text:
        return [message("paths.nul", "The path {path!r} contains a NUL character. Type it again.", path=shown)]
    parts = coded.replace(b"\\", b"/").split(b"/")
    if len(coded) > MAX_PATH or max(map(len, parts)) > MAX_PART:
        return [
            message(
                "paths.too_long",
                'The path "{path}" is too long. It can have at most {most} bytes, and each name in it {part}.',
                path=shown,
                most=MAX_PATH,
                part=MAX_PART,
            )
        ]
    return []
