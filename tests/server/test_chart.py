"""A long curve as few points: what is shown is true, and nothing that matters is lost."""

from __future__ import annotations

import time

from tinv_ext.server.chart import MOST, chart


def rows(count: int) -> list[dict[str, float]]:
    """A curve whose losses are different at every step."""
    return [{"step": n, "loss": (n * 37 % 101) / 100, "smoothed": 1 / n, "rate": 0.005} for n in range(1, count + 1)]


def test_a_short_curve_is_whole() -> None:
    """Every step, with null where there is no evaluation or, before the first step, no loss."""
    shown = chart(rows(3), [(0, 0.5), (2, 0.25)], 100)
    assert shown["steps"] == [0, 1, 2, 3]
    assert shown["smoothed"] == [None, 1.0, 0.5, 1 / 3]
    assert shown["evaluation"] == [0.5, None, 0.25, None]
    assert shown["low"] == shown["high"] == [None, 0.37, 0.74, 0.1]
    assert shown["best"] == {"step": 2, "loss": 0.25}


def test_a_long_curve_has_few_points_and_every_extreme() -> None:
    """Lowest and highest of all, the last step, and the best evaluation, wherever it is."""
    curve = rows(10_000)
    evaluations = [(step, 0.2) for step in range(0, 10_001, 5)]
    evaluations[777] = (evaluations[777][0], 0.1)
    shown = chart(curve, evaluations, 300)
    assert len(shown["steps"]) <= 2 * 300 + 1
    assert shown["steps"] == sorted(set(shown["steps"]))
    assert shown["steps"][-1] == 10_000
    losses = [row["loss"] for row in curve]
    assert min(value for value in shown["low"] if value is not None) == min(losses)
    assert max(value for value in shown["high"] if value is not None) == max(losses)
    assert shown["best"] == {"step": evaluations[777][0], "loss": 0.1}
    assert shown["evaluation"][shown["steps"].index(evaluations[777][0])] == 0.1


def test_the_best_is_the_one_that_the_run_names() -> None:
    """The lowest may be chance, or of other images; where the run has said nothing that there is, the lowest it is."""
    evaluations = [(0, 0.5), (2, 0.25), (3, 0.3), (3, 0.26)]
    assert chart(rows(3), evaluations, 100, 3)["best"] == {"step": 3, "loss": 0.26}
    assert chart(rows(3), evaluations, 100, 7)["best"] == {"step": 2, "loss": 0.25}
    long = [(step, step / 1e6) for step in range(0, 10_001, 5)]
    shown = chart(rows(10_000), long, 300, 9_985)
    assert shown["evaluation"][shown["steps"].index(9_985)] == 9_985 / 1e6


def test_nothing_yet_and_any_number_of_points() -> None:
    """An empty chart; numbers that are none of a screen."""
    assert chart([], [], 100)["steps"] == []
    assert chart([], [], 100)["best"] is None
    for points in (-1, 0, 1, 10**9):
        assert 2 <= len(chart(rows(5000), [], points)["steps"]) <= MOST


def test_it_takes_no_time_that_a_run_would_notice() -> None:
    """At 100 000 steps, a hundred times what a screen shows."""
    curve, evaluations = rows(100_000), [(step, 0.1) for step in range(0, 100_000, 10)]
    begun = time.process_time()
    chart(curve, evaluations, 500)
    assert time.process_time() - begun < 0.5
