"""Paths as people give them."""

from __future__ import annotations

from pathlib import Path


def path_given(text: str) -> Path:
    """The path meant by a text: blanks and quotes around it are left away, a ~ in front is the user's own folder."""
    path = Path(text.strip().strip("\"'"))
    try:
        return path.expanduser()
    except RuntimeError:  # "~name" where there is no such user: then the folder is really called that
        return path
