"""The captions that prepared images get: what is there already, and what captioners say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from PIL import Image

CaptionOf = Callable[[Image.Image], str]
Captioner = Callable[[], AbstractContextManager[CaptionOf]]
"""Loads its model for as long as the context is open; inside, an RGB image becomes a text."""


def new_caption(existing: str, generated: str, action: str) -> str:
    """The caption of an image that has `existing` (one a line) when `generated` comes; `action` is one of `EXISTING`.

    v1.10.1 modules/postprocessing.py: "prepend" puts the existing caption before the generated one, "append" behind it;
    there with a blank between, here with a comma, as between tags.
    """
    if not existing or not generated or action == "ignore":
        return generated or existing
    if action == "keep":
        return existing
    pairs = ((line, generated) if action == "prepend" else (generated, line) for line in existing.split("\n"))
    return "\n".join(joined(pair) for pair in pairs)


def joined(texts: Iterable[str]) -> str:
    """Texts one after the other, with commas between those that say anything."""
    return ", ".join(text for text in (text.strip().strip(",").strip() for text in texts) if text)
