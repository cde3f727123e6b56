"""Captions by the program's own interrogators, BLIP and DeepBooru, as its Settings page has them (Interrogate).

v1.10.1 modules/interrogate.py and modules/deepbooru.py; Forge's have the same methods. Each image takes its turn at the
queue, as "Interrogate" in img2img does, so that generations and a run get theirs in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from modules import shared
from PIL import Image

from tinv_ext.hosts.webui.queue_lock import holding_queue

CaptionOf = Callable[[Image.Image], str]


def captioners() -> dict[str, Callable[[], AbstractContextManager[CaptionOf]]]:
    """Those that the program has, by name."""
    found: dict[str, Callable[[], AbstractContextManager[CaptionOf]]] = {}
    interrogator = getattr(shared, "interrogator", None)
    if interrogator is not None:
        found["blip"] = lambda: _blip(interrogator)
    try:
        from modules import deepbooru
    except ImportError:
        return found
    found["deepbooru"] = lambda: _deepbooru(deepbooru.model)
    return found


@contextmanager
def _blip(interrogator: Any) -> Iterator[CaptionOf]:
    """BLIP's sentence, without the artists and styles that the program's button adds by CLIP."""

    def caption(image: Image.Image) -> str:
        with holding_queue():
            try:
                interrogator.load()
                return str(interrogator.generate_caption(image))
            finally:
                interrogator.unload()

    yield caption


@contextmanager
def _deepbooru(model: Any) -> Iterator[CaptionOf]:
    """DeepBooru's tags: threshold, order, spaces, escapes, filter and ranks are those of the program's settings."""

    def caption(image: Image.Image) -> str:
        with holding_queue():
            return str(model.tag(image))

    yield caption
