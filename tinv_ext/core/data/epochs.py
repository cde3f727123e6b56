"""Epochs: passes through all images, each as often as it is repeated. Steps need not end where an epoch does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Epochs:
    """An epoch has `images`, repeats included; a step sees `per_step` of them. Both count from step 0."""

    images: int
    per_step: int

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
