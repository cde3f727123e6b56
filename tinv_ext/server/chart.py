"""A run's curve as few points as a screen can show, whatever its length: the page draws it as it comes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinv_ext.run.curve import best_of

MOST = 2000  # points that can be asked for
Rows = Sequence[dict[str, float]]
Evaluations = Sequence[tuple[int, float]]


def chart(curve: Rows, evaluations: Evaluations, points: int, best: int | None = None) -> dict[str, Any]:
    """Columns over `steps`: of each stretch of steps the smoothed loss and rate at its end, and its `low` and `high`.

    A column has null where it has no value at a step. Of the evaluations so many are kept, among them each stretch's
    lowest and the best of all, which is at step `best` where the run has said so; `best` is that one, {step, loss}, or
    null.
    """
    points = min(max(points, 2), MOST)
    stretches = _stretches(curve, points)
    found = best_of(evaluations, best)
    kept = sorted({*_lowest(evaluations, points), *([found] if found else [])})
    by_step: dict[int, dict[str, float]] = {int(part[-1]["step"]): _summary(part) for part in stretches}
    for step, loss in kept:
        by_step.setdefault(step, {})["evaluation"] = loss
    steps = sorted(by_step)
    return {
        "steps": steps,
        **{
            name: [by_step[step].get(name) for step in steps]
            for name in ("smoothed", "low", "high", "rate", "evaluation")
        },
        "best": {"step": found[0], "loss": found[1]} if found else None,
    }


def _stretches(rows: Rows, points: int) -> list[Rows]:
    """The rows in at most so many parts of equal length, but for the last."""
    length = max(1, math.ceil(len(rows) / points))
    return [rows[start : start + length] for start in range(0, len(rows), length)]


def _summary(part: Rows) -> dict[str, float]:
    losses = [row["loss"] for row in part]
    return {"smoothed": part[-1]["smoothed"], "rate": part[-1]["rate"], "low": min(losses), "high": max(losses)}


def _lowest(evaluations: Evaluations, points: int) -> list[tuple[int, float]]:
    """Of each part the lowest, and the last of all, so that the line ends where the run is."""
    length = max(1, math.ceil(len(evaluations) / points))
    parts = [evaluations[start : start + length] for start in range(0, len(evaluations), length)]
    return sorted({min(part, key=lambda one: one[1]) for part in parts} | set(evaluations[-1:]))
