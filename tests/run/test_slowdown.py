"""Steps that become far slower than they were are told, once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.messages import said
from tinv_ext.core.training.trainer import Step
from tinv_ext.run.slowdown import SlowdownWatch


def told(seconds: Sequence[float], device: str = "cpu") -> list[Any]:
    """What is said of steps that take so long."""
    found: list[Any] = []
    slowdown = SlowdownWatch(found.append, device)
    for one in seconds:
        slowdown.took(one)
    return found


def test_steps_that_slow_down_are_told_once() -> None:
    """More than three times the median of the first twenty; with both figures."""
    (notice,) = told([0.5] * 20 + [1.6] * 30)
    assert said([notice], "run.slow", now=1.6, usual=0.5)
    assert said([notice.values["cause"]], "run.slow_machine")
    assert told([0.5] * 20 + [1.4] * 30) == []


def test_a_slow_beginning_and_single_slow_steps_are_no_news() -> None:
    """The first step compiles kernels; a virus scanner takes a moment."""
    assert told([9.0] * 3 + [0.5] * 17 + [0.5, 9.0, 9.0, 0.5, 0.5] * 9) == []
    assert told([0.5] * 10) == []
    assert len(told([9.0] * 3 + [0.5] * 17 + [2.0] * 5)) == 1


def test_on_a_gpu_the_drivers_spilling_is_named() -> None:
    """The usual cause there."""
    (notice,) = told([0.5] * 20 + [50.0] * 5, "cuda")
    assert said([notice.values["cause"]], "run.slow_gpu")


@pytest.mark.parametrize("between", [0.0, 100.0])
def test_only_the_steps_are_timed(between: float) -> None:
    """Previews and states between them are not; the steps come through as they are."""
    now = [0.0]
    steps = [Step(number, 0.1, 0.1, 0.1, 0.1, 0.1, ()) for number in range(1, 31)]

    def slow() -> Iterator[Step]:
        for step in steps:
            now[0] += 1.0 if step.number <= 20 else 4.0
            yield step

    found: list[str] = []
    came = []
    for step in SlowdownWatch(found.append, "cpu", lambda: now[0]).timed(slow()):
        came.append(step)
        now[0] += between
    assert came == steps
    assert said(found, "run.slow", now=4, usual=1)
    assert len(found) == 1
