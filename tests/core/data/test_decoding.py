"""Decoding in several threads: Python's filters of warnings are those of the process."""

from __future__ import annotations

import io
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from tinv_ext.core.data import decoding
from tinv_ext.core.data.decoding import Unusable, decode


def png(width: int, height: int) -> io.BytesIO:
    """A black image."""
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file


def test_an_image_of_too_many_pixels_is_refused_whatever_other_threads_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another one was at work before, and is done in between; the filters come out as they were."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    before = list(warnings.filters)
    in_between, opened = threading.Event(), Image.open

    def slow(file: io.BytesIO) -> Image.Image:
        assert in_between.wait(10)
        return opened(file)

    with ThreadPoolExecutor(1) as pool:
        with decoding._WARNINGS:
            monkeypatch.setattr(Image, "open", slow)
            large = pool.submit(decode, png(40, 30))  # waits with the filters set, while this thread is done with them
            while decoding._WARNINGS._inside < 2:
                pass
        in_between.set()
        with pytest.raises(Unusable) as caught:
            large.result(10)
    assert caught.value.reason.id == "images.too_large"
    assert list(warnings.filters) == before
