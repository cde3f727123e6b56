"""When evaluations say that an optimizer gets nowhere: laws on planted losses."""

from __future__ import annotations

import json
import math

import pytest

from tinv_ext.core.training.optimizer_rows import OPTIMIZERS
from tinv_ext.core.training.standstill import CHECKS, SETTLED, SUCCESSORS, Standstill, Successor, standstill_of


def after(*losses: float, begin: Standstill | None = None) -> Standstill:
    """What is known after these evaluations, all on one basis."""
    found = begin or Standstill()
    for number, loss in enumerate(losses):
        found = found.measured(found.since + SETTLED + 10 * number, loss, "basis")
    return found


@pytest.mark.parametrize(
    ("losses", "due"),
    [
        ([1.0], False),
        ([1.0] * CHECKS, False),
        ([1.0] * (CHECKS + 1), True),
        ([1.0, 1.2, 0.9999, 1.0], True),
        ([1.0, 0.99, 1.2, 1.2, 1.2, 1.2], False),
        ([1.0, 1.2, 1.2, 0.99], False),
        ([1.0, 1.2, 1.2, 0.99, 1.2, 1.2, 1.2, 1.2], False),
    ],
)
def test_when_an_optimizer_has_had_its_chance(losses: list[float], due: bool) -> None:
    """After three evaluations that were not below the first; never once it has moved, whatever comes later."""
    assert after(*losses).due is due


def test_the_first_steps_prove_nothing() -> None:
    """Where every step is evaluated, a few without a fall are no standstill, nor are they after a change."""
    for begin in (Standstill(), Standstill("basis", 1.0, since=100, switched=1)):
        found, due = begin, []
        for step in range(begin.since, begin.since + SETTLED + CHECKS):
            found = found.measured(step, 1.0, "basis")
            due.append(found.due)
        assert due == [False] * (SETTLED + CHECKS - 1) + [True]


def test_another_basis_begins_anew() -> None:
    """Losses of other images cannot be compared; that the run had moved stays true."""
    stuck = after(1.0, 1.0, 1.0).measured(90, 0.1, "other")
    assert (stuck.first, stuck.checks, stuck.moved) == (0.1, 0, False)
    assert after(1.0, 0.5).measured(90, 9.0, "other").measured(95, 9.0, "other").moved


def test_the_next_one_has_its_own_chance() -> None:
    """Measured by the same first loss, from the vectors of which it begins again."""
    stuck = after(1.0, 1.0, 1.0, 1.0).handed_over(7)
    assert (stuck.due, stuck.switched, stuck.since, stuck.first) == (False, 1, 7, 1.0)
    assert after(1.0, 1.0, 1.0, begin=stuck).due
    assert not after(1.0, 1.0, 0.5, 1.0, begin=stuck).due


def test_it_is_kept_in_words() -> None:
    """As it was; nothing is known of a run from before, which then counts as one that moves."""
    for one in (Standstill(), after(1.0, 1.0), after(1.0, 0.5), after(1.0, 1.0).handed_over(3)):
        assert standstill_of(one.about()) == one
    assert not after(1.0, 1.0, 1.0, 1.0, begin=standstill_of(None)).due
    with pytest.raises(TypeError):
        standstill_of(json.dumps({"no": 1}))


def test_rates_of_those_that_take_over() -> None:
    """Constant, or as a cosine from where it took over until the end; all are optimizers that there are."""
    falling = Successor("ssm", 0.2, falls=True)
    assert [falling.rate_at(step, 10, 30) for step in (10, 20, 30)] == pytest.approx([0.2, 0.1, 0.0])
    assert falling.rate_at(15, 10, 30) == pytest.approx(0.1 * (1 + math.cos(math.pi / 4)))
    assert Successor("adamw", 0.005).rate_at(29, 10, 30) == 0.005
    assert {name for first, row in SUCCESSORS.items() for name in (first, *(one.optimizer for one in row))} <= set(
        OPTIMIZERS
    )
