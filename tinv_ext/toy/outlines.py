"""Outlines of the toy world: each is a list of rings of points, the first filled, the following cut out.

Points are (n, 2) float arrays in units of the shape's radius, y downwards, centred on the shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
HARMONICS = (2, 3, 4, 5)  # an odd outline has a cosine and a sine weight for each
ODD_SIZE = 2 * len(HARMONICS)


def circle(radius: float = 1.0, centre: tuple[float, float] = (0.0, 0.0), count: int = 72) -> Points:
    """Points (count, 2) on a circle."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)], axis=1)


def odd(weights: Sequence[float]) -> list[Points]:
    """A smooth blob: radius 1 + Σ a·cos(kθ) + b·sin(kθ) over HARMONICS, scaled to the area of a circle of .85."""
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    radius = np.ones_like(angles)
    for index, k in enumerate(HARMONICS):
        radius += weights[2 * index] * np.cos(k * angles) + weights[2 * index + 1] * np.sin(k * angles)
    radius = np.maximum(radius, 0.15)
    radius *= 0.85 / np.sqrt(np.mean(radius**2))
    return [np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)]


def polygon(points: Sequence[Sequence[float]]) -> list[Points]:
    """The outline that somebody drew by its corners."""
    return [np.asarray(points, dtype=np.float64)]


def _square() -> list[Points]:
    side = 0.82
    return polygon([(-side, -side), (side, -side), (side, side), (-side, side)])


def _triangle() -> list[Points]:
    return polygon([(0, -1.0), (1.02, 0.82), (-1.02, 0.82)])


def _cross() -> list[Points]:
    arm, end = 0.34, 1.0
    top = [(-arm, -end), (arm, -end), (arm, -arm), (end, -arm), (end, arm), (arm, arm)]
    return polygon([*top, *((-x, -y) for x, y in top)])


def _ring() -> list[Points]:
    return [circle(), circle(0.48)]


def _moon() -> list[Points]:
    return [circle(), circle(0.8, (0.62, 0.0))]


SHAPES: dict[str, Callable[[], list[Points]]] = {
    "circle": lambda: [circle()],
    "square": _square,
    "triangle": _triangle,
    "ring": _ring,
    "cross": _cross,
    "moon": _moon,
}
TURNS = {"circle": 0.0, "square": 8.0, "triangle": 8.0, "ring": 0.0, "cross": 8.0, "moon": 12.0}  # degrees to each side
