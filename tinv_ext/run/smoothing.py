"""The smoothed loss, as page, API and command line show it."""

from __future__ import annotations

SMOOTHING = 0.98  # of the average before: about the last fifty steps


def smoothed(before: float | None, loss: float) -> float:
    """The exponential moving average after one more `loss`; `before` is None for the first."""
    return loss if before is None else SMOOTHING * before + (1 - SMOOTHING) * loss
