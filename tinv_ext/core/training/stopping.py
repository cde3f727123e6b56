"""When a run may end, and with which of its steps: pure functions of its evaluations.

Each evaluation has the same draws, which pairs them: how a draw's loss differs between two steps has no noise of its
own. The mean of these differences has a standard error, so an improvement can be told from chance. The lowest of many
noisy means is not the best step but the luckiest; so the result is the latest that is not clearly worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

_SURE = 1.0  # standard errors by which a further gain must be ruled out
_AS_GOOD = 1.5  # standard errors that a step may seem worse than the best
_SMALL = 0.03  # share of all that the loss has fallen so far
_SHARE = 3  # of all steps so far, one in so many makes up the patience, if that is more than what is set
_MOST = 10  # but no more than so many times that


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The losses of all draws, (N,) float64, at a step."""

    step: int
    losses: Tensor

    @property
    def mean(self) -> float:
        """What is shown."""
        return float(self.losses.mean())

    def part(self, places: Sequence[int]) -> Evaluation:
        """That of some of the draws."""
        return Evaluation(self.step, self.losses[list(places)])

    def excess(self, other: Evaluation) -> tuple[float, float]:
        """By how much it is above the other in the mean of all draws, and the standard error of that."""
        differences = self.losses - other.losses
        count = len(differences)
        error = float(differences.std()) / count**0.5 if count > 1 else 0.0
        return float(differences.mean()), error


@dataclass(frozen=True)
class Rule:
    """A run ends when `patience` steps, or a third of all that it has taken, have brought no improvement that counts.

    Slow learning needs a longer look than fast learning, and a curve falls by ratios of steps.
    """

    patience: int

    def looks_back(self, step: int) -> int:
        """Over how many steps a run that stands at `step` looks back."""
        return max(self.patience, min(step // _SHARE, _MOST * self.patience))


def lowest(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The one with the lowest mean, of equal ones the first."""
    return min(evaluations, key=lambda one: one.mean, default=None)


def as_good(one: Evaluation, best: Evaluation) -> bool:
    """Whether it is no worse than `best`, as far as the draws can tell."""
    excess, error = one.excess(best)
    return excess <= _AS_GOOD * error


def may_end(evaluations: Sequence[Evaluation], rule: Rule, start: int, since: int) -> bool:
    """Whether a run with these evaluations, the last of which was now, may end.

    It may when even a standard error more than what the last steps have gained over those before would be a small part
    of the whole fall. Those up to step `start` are of vectors that had not learnt yet; patience begins at
    step `since`.
    """
    now = evaluations[-1].step
    early, late = _parted(evaluations, rule, start)
    before, after = lowest(early), lowest(late)
    if before is None or after is None or len(late) < 2 or now - since < rule.patience:
        return False
    gained, error = before.excess(after)
    fall = max(one.mean for one in evaluations) - min(before.mean, after.mean)
    return gained + _SURE * error < _SMALL * fall


def needed(evaluations: Sequence[Evaluation], rule: Rule | None, start: int) -> tuple[Evaluation, ...]:
    """Those that `may_end` and `lowest` will ever look at again: the highest, the lowest, and the latest."""
    early, late = _parted(evaluations, rule, start)
    highest = max(evaluations, key=lambda one: one.mean)
    kept = {one.step for one in (highest, lowest(early), lowest(late)) if one} | {one.step for one in late if rule}
    return tuple(one for one in evaluations if one.step in kept)


def _parted(
    evaluations: Sequence[Evaluation], rule: Rule | None, start: int
) -> tuple[list[Evaluation], list[Evaluation]]:
    """Those of a run that learns, before and within what it looks back over; all before where no rule asks."""
    now = evaluations[-1].step
    end = now - (rule.looks_back(now - start) if rule else 0)
    learning = [one for one in evaluations if one.step > start]
    return [one for one in learning if one.step <= end], [one for one in learning if one.step > end]
