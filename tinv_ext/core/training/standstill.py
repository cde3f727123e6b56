"""Another optimizer where evaluations show that the run's own gets nowhere.

The natural gradient rests on measures of the model (curvature, its scale), and no real model has tried them all. A run
that it cannot move, by three evaluations in a row, begins again from its first vectors with the next of a row of
simpler optimizers. What is known of that is part of the state; pure functions of evaluations.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

CHECKS = 3  # evaluations in a row
SETTLED = 20  # steps before which an optimizer need not have moved anything
_FALL = 1e-3  # share of the first loss by which it must have fallen once


@dataclass(frozen=True)
class Successor:
    """An optimizer that takes over, and its rate, which falls to 0 as a cosine does until the end where `falls`."""

    optimizer: str
    rate: float
    falls: bool = False

    def rate_at(self, step: int, since: int, end: int) -> float:
        """The rate of a step of a run that it took over at step `since`."""
        share = (step - since) / max(1, end - since) if self.falls else 0.0
        return self.rate * (1 + math.cos(math.pi * share)) / 2


SUCCESSORS: Mapping[str, tuple[Successor, ...]] = {
    "ong": (Successor("ssm", 0.2, falls=True), Successor("adamw", 0.005))
}
"""Those of a run, in their order, by the optimizer that it was to have."""


@dataclass(frozen=True)
class Standstill:
    """Whether a run has ever moved, and what has been tried.

    `first` is the loss of its first vectors on `basis` (`progress.py`), `checks` the evaluations in a row that were not
    below it, once there are `SETTLED` steps; `switched` says how many successors have taken over, the last one at step
    `since`.
    """

    basis: str = ""
    first: float | None = None
    checks: int = 0
    moved: bool = False
    switched: int = 0
    since: int = 0

    def measured(self, step: int, loss: float, basis: str) -> Standstill:
        """With one evaluation more; on another basis it starts over."""
        if self.first is None or basis != self.basis:
            return replace(self, basis=basis, first=loss, checks=0)
        moved = self.moved or loss < self.first * (1 - _FALL)
        counts = not moved and step >= self.since + SETTLED
        return replace(self, moved=moved, checks=self.checks + 1 if counts else 0)

    def handed_over(self, step: int) -> Standstill:
        """Once the next optimizer has taken over at a step."""
        return replace(self, checks=0, switched=self.switched + 1, since=step)

    @property
    def due(self) -> bool:
        """Whether the optimizer at work has had its chance."""
        return not self.moved and self.checks >= CHECKS

    def about(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))


def standstill_of(about: str | None) -> Standstill:
    """What `about` gave; a run from before there was any counts as one that moves. ValueError, TypeError otherwise."""
    return Standstill(moved=True) if about is None else Standstill(**json.loads(about))
