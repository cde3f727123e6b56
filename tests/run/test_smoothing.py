"""The smoothed loss shows where a run goes."""

from __future__ import annotations

import random

import pytest

from tinv_ext.run.smoothing import SMOOTHING, SmoothedLoss


def test_one_first_loss_does_not_bend_the_curve() -> None:
    """A run that goes well falls, though its first step happened to be an easy one."""
    rng = random.Random(0)
    losses = [0.02] + [0.2 - 0.0005 * step + rng.uniform(-0.02, 0.02) for step in range(200)]
    average = SmoothedLoss()
    shown = [average.add(loss) for loss in losses]
    assert shown[200] < shown[100] < shown[20]
    assert shown[20] == pytest.approx(sum(losses[:21]) / 21, abs=0.01)  # no fifth of it is the first loss


def test_it_is_the_weighted_mean() -> None:
    """Of all losses, each weighing less by `SMOOTHING` than the next; equal losses stay as they are."""
    average = SmoothedLoss()
    assert average.add(3.0) == pytest.approx(3.0)
    assert average.add(1.0) == pytest.approx((3.0 * SMOOTHING + 1.0) / (SMOOTHING + 1))
    same = SmoothedLoss()
    assert {round(same.add(0.5), 12) for _ in range(100)} == {0.5}
