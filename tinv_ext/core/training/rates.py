"""The learning rate of each step: the WebUI's list of rates, or one rate that a curve of the peers leads down.

A curve is added as one function and one row of `CURVES`. Formulae are those of diffusers (58eb52c, optimization.py), of
transformers' `cosine_with_min_lr` and of OneTrainer (23df383, lr_scheduler_util.py), names those of these trainers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .schedules import Schedule

# (share of the way from the end of the warm-up to the end of the run, cycles, power, another share of that way: the
# last one, or the first) -> factor from 1 down to 0
Curve = Callable[[float, int, float, float], float]
_REX = 0.9


def constant(progress: float, cycles: int, power: float, span: float) -> float:
    """The rate as it is."""
    return 1.0


def linear(progress: float, cycles: int, power: float, span: float) -> float:
    """A straight line to 0."""
    return max(0.0, 1 - progress)


def cosine(progress: float, cycles: int, power: float, span: float) -> float:
    """Half a wave to 0."""
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def cosine_with_restarts(progress: float, cycles: int, power: float, span: float) -> float:
    """As many half waves, each from the whole rate to 0."""
    return 0.0 if progress >= 1 else 0.5 * (1 + math.cos(math.pi * (cycles * progress % 1)))


def cosine_with_soft_restarts(progress: float, cycles: int, power: float, span: float) -> float:
    """As many whole waves: down to 0 and back, as OneTrainer's COSINE_WITH_RESTARTS has it."""
    return 0.5 * (1 + math.cos(2 * math.pi * cycles * min(progress, 1.0)))


def rex(progress: float, cycles: int, power: float, span: float) -> float:
    """Slowly first, steeply in the end (Chen et al. 2021, arXiv 2107.04197, with OneTrainer's constant)."""
    left = max(0.0, 1 - progress)
    return left / (1 - _REX + _REX * left)


def polynomial(progress: float, cycles: int, power: float, span: float) -> float:
    """A power of what is left of the way."""
    return math.pow(max(0.0, 1 - progress), power)


def inverse_sqrt(progress: float, cycles: int, power: float, span: float) -> float:
    """The square root of time: half the rate after three times the timescale, which is `span`."""
    return math.sqrt(span / (span + progress)) if progress else 1.0


def warmup_stable_decay(progress: float, cycles: int, power: float, span: float) -> float:
    """The whole rate until the last `span`, then half a wave to 0."""
    before = 1 - span
    return 1.0 if progress < before or not span else 0.5 * (1 + math.cos(math.pi * cycles * (progress - before) / span))


PIECEWISE, ADAFACTOR = "piecewise_constant", "adafactor"
CURVES: Mapping[str, Curve] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "cosine_with_restarts": cosine_with_restarts,
    "cosine_with_soft_restarts": cosine_with_soft_restarts,
    "rex": rex,
    "polynomial": polynomial,
    "inverse_sqrt": inverse_sqrt,
    "warmup_stable_decay": warmup_stable_decay,
    PIECEWISE: constant,  # times the factors of `LearningRate`
    ADAFACTOR: constant,  # instead of which come the optimizer's own rates: `relative_step`
}
FALLING = tuple(name for name, curve in CURVES.items() if curve is not constant)
"""Those that lead from the whole rate to 0 at the end."""


def relative_step(step: int, warming_up: bool) -> float:
    """Adafactor's own rate of a step, a share of the vectors' root mean square.

    Shazeer and Stern 2018 (arXiv 1804.04235), section 8, as transformers' Adafactor has it with `relative_step` and
    `warmup_init`.
    """
    taken = step + 1
    return min(1e-6 * taken if warming_up else 1e-2, 1 / math.sqrt(taken))


@dataclass(frozen=True)
class LearningRate:
    """The rates of a run of `steps` steps, counted from the embedding's step 0, as the list's steps are.

    In the first `warmup` steps the rate grows from 0; then it follows the curve, down to `least` of itself. All is
    multiplied by `scale`. `span` is the share of the way that some curves take. A `table` has the rate of each step,
    `factors` what the rate is multiplied by in each piece of the way, instead of a curve.
    """

    rates: Schedule
    steps: int
    curve: str = "constant"
    warmup: int = 0
    cycles: int = 1
    power: float = 1.0
    least: float = 0.0
    scale: float = 1.0
    span: float = 0.0
    table: Sequence[float] = ()
    factors: Schedule | None = None

    def at(self, step: int) -> float:
        """Rate of the update that leads from `step` to `step + 1`."""
        rate = (self.table[min(step, len(self.table) - 1)] if self.table else self.rates.at(step)) * self.scale
        if step < self.warmup:
            return rate * step / self.warmup
        if self.table:
            return rate
        if self.factors:
            return rate * self.factors.at(step)
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return rate * (self.least + (1 - self.least) * CURVES[self.curve](progress, self.cycles, self.power, self.span))
