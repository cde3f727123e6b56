"""The smoothed loss, as page, API and command line show it."""

from __future__ import annotations

from dataclasses import dataclass

SMOOTHING = 0.98  # of the average before: about the last fifty steps


@dataclass
class SmoothedLoss:
    """The exponential moving average of the losses so far, without bias towards any of the first.

    As Adam's averages: the weighted sum is divided by the sum of the weights, 1 - SMOOTHING^n after n losses
    (Kingma & Ba 2015, section 3). An average that starts at the first loss would follow its noise for fifty steps.
    """

    _sum: float = 0.0
    _weight: float = 0.0

    def add(self, loss: float) -> float:
        """The average with one more `loss`."""
        self._sum = SMOOTHING * self._sum + (1 - SMOOTHING) * loss
        self._weight = SMOOTHING * self._weight + (1 - SMOOTHING)
        return self._sum / self._weight
