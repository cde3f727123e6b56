"""Epochs: passes through all images, each as often as it is repeated. Steps need not end where an epoch does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Epochs:
    """An epoch has `images`, repeats included; a step sees `per_step` of them. Both count from step 0.

    Where batches are of several sizes, `per_step` is their mean, so that so many steps see as many images.
    """

    images: int
    per_step: Fraction | int

    def steps(self, epochs: int) -> int:
        """The step at which so many epochs are over."""
        return -(-epochs * self.images // self.per_step)

    def over(self, steps: int) -> int:
        """How many epochs are over after so many steps."""
        return steps * self.per_step // self.images

    def begun(self, steps: int) -> int:
        """How many epochs so many steps have a part in."""
        return -(-steps * self.per_step // self.images)

    def ends(self, step: int, every: int) -> bool:
        """Whether the last epoch of `every` epochs ends with a step; never for 0."""
        return every > 0 and self.over(step) // every > self.over(step - 1) // every


@dataclass(frozen=True)
class Share:
    """What images contribute to an epoch: how many, with repeats, how many of them make a batch, what they are for."""

    images: int
    batch_size: int
    is_reg: bool = False


def epochs_of_shares(shares: Iterable[Share], batches_per_step: int) -> Epochs:
    """The epochs of a dataset. Of images that regularize, as many are seen as of the others."""
    counts: Counter[tuple[bool, int]] = Counter()
    for share in shares:
        counts[share.is_reg, share.batch_size] += share.images
    totals = {is_reg: sum(count for (kind, _), count in counts.items() if kind == is_reg) for is_reg in (False, True)}
    own = totals[False]
    images = own * (2 if totals[True] else 1)
    sizes = {size for _, size in counts}
    if len(sizes) == 1:
        return Epochs(images, sizes.pop() * batches_per_step)
    parts = (Fraction(count * own, totals[is_reg] * size) for (is_reg, size), count in counts.items() if count)
    batches = sum(parts, Fraction(0))
    return Epochs(images, images / batches * batches_per_step)
