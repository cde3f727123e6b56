"""What a run that goes on has shown before, so that its curve and previews stay in sight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinv_ext.run.curve import read_curve
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.smoothing import SmoothedLoss

_NORMS = ("gradient_norm", "vector_norm", "distance")


@dataclass
class Shown:
    """Rows of the curve, evaluations by step, which step was the best by the last of them, where it says so, and files
    of previews by step; the average loss to go on with."""

    curve: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    best: int | None = None
    previews: list[tuple[int, str]] = field(default_factory=list)
    smoothed: SmoothedLoss = field(default_factory=SmoothedLoss)

    @classmethod
    def of(cls, folder: RunFolder, names: Sequence[str], start: int) -> Shown:
        """What a run of these words has shown up to step `start`, from which it goes on; nothing of one that begins."""
        return cls.left_by(folder, names, start) if folder.has_state else cls()

    @classmethod
    def left_by(cls, folder: RunFolder, names: Sequence[str], start: float = math.inf) -> Shown:
        """What a run has left up to step `start`, whether it can go on or not."""
        shown = cls.of_curve(folder.curve, start)
        shown.previews = [(step, str(path)) for step, path in folder.previews(*names) if step <= start]
        return shown

    @classmethod
    def of_curve(cls, path: Path, start: float = math.inf) -> Shown:
        """What a curve holds up to step `start`, without previews."""
        shown = cls()
        for row in read_curve(path):
            numbers = _numbers(row)
            if numbers.get("step", math.inf) <= start:
                shown._add(int(numbers["step"]), numbers)
        return shown

    def _add(self, step: int, numbers: dict[str, float]) -> None:
        if "evaluation" in numbers:
            self.evaluations.append((step, numbers["evaluation"]))
            self.best = int(numbers["best"]) if "best" in numbers else None
        if "loss" in numbers:
            smoothed = self.smoothed.add(numbers["loss"])
            rate = numbers.get("learn_rate", 0.0)
            norms = {name: numbers[name] for name in _NORMS if name in numbers}
            self.curve.append({"step": step, "loss": numbers["loss"], "smoothed": smoothed, "rate": rate, **norms})


def _numbers(row: dict[str, str]) -> dict[str, float]:
    """The finite numbers of a row, by column."""
    numbers = {}
    for column, text in row.items():
        try:
            number = float(text)
        except ValueError:
            continue
        if math.isfinite(number):
            numbers[column] = number
    return numbers
