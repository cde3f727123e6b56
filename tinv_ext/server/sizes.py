"""Bytes as people read them, in sentences of the program."""

from __future__ import annotations


def size_of(count: int) -> str:
    """In the unit that suits it, as `sizeOf` of the page's script has it."""
    if count < 1000:
        return f"{count} B"
    size, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.{1 if size < 9.95 else 0}f} {units[0]}"
