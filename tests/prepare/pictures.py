"""Images to prepare, drawn by numbers: detail on every scale, as photographs have it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def photo(seed: int, width: int = 640, height: int = 480) -> Image.Image:
    """Colourful noise whose power falls with the square of the frequency (Field 1987), with some hard-edged shapes."""
    return Image.fromarray(_pixels(seed, width, height))


@lru_cache
def _pixels(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    down, across = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    fall = 1 / np.maximum(np.hypot(down, across), 1 / max(width, height))
    layers = [np.fft.ifft2(np.fft.fft2(rng.normal(size=(height, width))) * fall).real for _ in range(3)]
    pixels = np.stack([layer / layer.std() * 45 + 128 for layer in layers], axis=-1).clip(0, 255).astype(np.uint8)
    for _ in range(6):
        left, top = rng.integers(0, width - 40), rng.integers(0, height - 40)
        wide, high = rng.integers(20, width // 3), rng.integers(20, height // 3)
        pixels[top : top + high, left : left + wide] = rng.integers(0, 256, 3)
    return pixels
