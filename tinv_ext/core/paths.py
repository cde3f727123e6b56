"""Paths as people give them."""

from __future__ import annotations

from pathlib import Path

MAX_PATH, MAX_PART = 4000, 255
"""Bytes (UTF-8) of a path and of each name in it that file systems take."""


def path_given(text: str) -> Path:
    """The path meant by a text: blanks and quotes around it are left away, a ~ in front is the user's own folder."""
    path = Path(text.strip().strip("\"'"))
    try:
        return path.expanduser()
    except RuntimeError:  # "~name" where there is no such user: then the folder is really called that
        return path


def path_problems(text: str) -> list[str]:
    """Why no system can have such a path, as sentences; none where it is only not there."""
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    try:
        coded = text.encode("utf-8")
    except UnicodeEncodeError:
        return [f"The path {shown!r} has half a character in it: type or copy it anew."]
    if "\0" in text:
        return [f"The path {shown!r} has a NUL in it: type or copy it anew."]
    parts = coded.replace(b"\\", b"/").split(b"/")
    if len(coded) > MAX_PATH or max(map(len, parts)) > MAX_PART:
        return [f'The path "{shown}" is too long: {MAX_PATH} bytes at most, {MAX_PART} for each name in it.']
    return []
