"""Where in an image there is most to see: edges, detail, and faces where OpenCV can find them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinv_ext.core.data.faces import DETECTOR, faces_in, have_detector

_LONGEST = 160  # pixels of the longer side of what is looked at
_BLOCK = 8  # pixels over which entropy is taken
_LEVELS = 16  # gray levels that it tells apart
_EDGES, _ENTROPY, _FACES = 1.0, 0.5, 8.0
"""How much each counts; a face outweighs all else."""
_STEPS = 256  # crops that are compared

Map = NDArray[np.float64]


def detector() -> str:
    """What decides beside the image: the version of this measure and the detector of faces."""
    return f"1 {DETECTOR if have_detector() else 'no faces'}"


def most_salient(rgb: Image.Image, wide: Fraction, high: Fraction) -> tuple[float, float]:
    """Where a crop of these shares of the width and height shows most, nearer to its middle counting more.

    As shares (across, down) of what is cut off: (0.5, 0.5) is the middle crop, and the choice where all are alike.
    """
    seen = saliency_map(rgb)
    return _best(seen.sum(0), float(wide)), _best(seen.sum(1), float(high))


def saliency_map(rgb: Image.Image) -> Map:
    """Saliency (h, w) float64 of the image scaled down; 0 where there is nothing to see."""
    times = min(1.0, _LONGEST / max(rgb.size))
    size = (max(1, round(rgb.width * times)), max(1, round(rgb.height * times)))
    gray = np.asarray(rgb.convert("L").resize(size, Image.Resampling.BOX), dtype=np.float64) / 255
    found = _EDGES * _shares(_edges(gray)) + _ENTROPY * _shares(_entropy(gray))
    for left, top, right, bottom in faces_in(rgb):
        rows = slice(int(top * size[1]), int(np.ceil(bottom * size[1])))
        columns = slice(int(left * size[0]), int(np.ceil(right * size[0])))
        found[rows, columns] += _FACES / max(1, found[rows, columns].size)
    return found


def _shares(values: Map) -> Map:
    total = values.sum()
    return values / total if total > 0 else values


def _edges(gray: Map) -> Map:
    """Length of the gradient."""
    padded = np.pad(gray, 1, mode="edge")
    across = padded[1:-1, 2:] - padded[1:-1, :-2]
    down = padded[2:, 1:-1] - padded[:-2, 1:-1]
    return np.hypot(across, down)


def _entropy(gray: Map) -> Map:
    """Entropy of the gray levels of each block, in every pixel of it (Shannon 1948)."""
    levels = np.minimum((gray * _LEVELS).astype(int), _LEVELS - 1)
    entropy = np.zeros_like(gray)
    for top in range(0, gray.shape[0], _BLOCK):
        for left in range(0, gray.shape[1], _BLOCK):
            block = levels[top : top + _BLOCK, left : left + _BLOCK]
            share = np.bincount(block.ravel(), minlength=_LEVELS) / block.size
            share = share[share > 0]
            entropy[top : top + _BLOCK, left : left + _BLOCK] = -(share * np.log2(share)).sum()
    return entropy


def _best(line: Map, share: float) -> float:
    """Which window of `share` of the line holds most, as a share of the way from the first window to the last."""
    if share >= 1:
        return 0.5
    ends = np.linspace(0, 1, len(line) + 1)
    middles = (ends[1:] + ends[:-1]) / 2
    ways = np.linspace(0, 1, _STEPS + 1)
    starts = ways * (1 - share)
    inside = (middles - starts[:, None]) / share  # (windows, places): 0 at a window's beginning, 1 at its end
    weights = np.where((inside >= 0) & (inside <= 1), 1 - 0.5 * (2 * inside - 1) ** 2, 0.0)
    held = np.round((weights * line).sum(1) / max(float(line.sum()), 1e-12), 3)
    best = np.flatnonzero(held == held.max())
    return float(ways[best[np.argmin(np.abs(ways[best] - 0.5))]])
