"""What a preview says of itself: the text in the PNG, by which the page shows its prompt and seed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

_SEED = re.compile(r"(?:^|, )Seed: ([0-9]{1,19})(?:,|$)")
_NEGATIVE = "Negative prompt: "


@dataclass(frozen=True)
class PreviewText:
    """Of one image; empty, and no seed, where the file says nothing."""

    prompt: str = ""
    negative_prompt: str = ""
    seed: int | None = None


def preview_text(path: Path) -> PreviewText:
    """That of a PNG; of a file that cannot be read, or that has none, the empty one."""
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, SyntaxError):  # SyntaxError is PIL's word for a broken PNG
        return PreviewText()


@lru_cache(2000)
def _read(path: Path, _: int) -> PreviewText:
    with Image.open(path) as image:
        return parsed(str(image.info.get("parameters", "")))


def parsed(text: str) -> PreviewText:
    """A text as `core/generation/requests.py: infotext` writes it: prompt, negative prompt, and a line of values."""
    *lines, values = text.split("\n")
    seed = _SEED.search(values)
    start = next((number for number, line in enumerate(lines) if line.startswith(_NEGATIVE)), len(lines))
    negative = "\n".join(lines[start:]).removeprefix(_NEGATIVE)
    return PreviewText("\n".join(lines[:start]), negative, int(seed[1]) if seed else None)
