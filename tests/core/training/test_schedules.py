"""Rates by step in the WebUI's grammar, and a sentence for whatever it would silently ignore."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.messages import refused
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import translated
from tinv_ext.core.training.schedules import parse_schedule


def test_a_rate_holds_until_its_step() -> None:
    """`rate:step` is used for the updates from steps below `step`; a bare rate holds to the end."""
    schedule = parse_schedule(" 0.005:100 , 1e-3:1000,1e-5")
    assert [schedule.at(step) for step in (0, 99, 100, 999, 1000, 10**6)] == [0.005, 0.005, 1e-3, 1e-3, 1e-5, 1e-5]
    assert schedule.end is None


@pytest.mark.parametrize(
    "text, end", [("0.1:5", 5), ("0.1:3, 0.2:9,", 9), ("0.1:-1", None), ("0.1", None), (",,0.1:4,,", 4)]
)
def test_a_schedule_may_end(text: str, end: int | None) -> None:
    """The last step is the end of the run; -1 and a bare rate never end; blanks between commas are nothing."""
    assert parse_schedule(text).end == end


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "is empty"),
        (" , ", "is empty"),
        ("fast", '"fast" is not "rate" or "rate:step"'),
        ("0.1:ten", 'step in "0.1:ten" must be a whole number'),
        ("0.1:10:3", 'step in "0.1:10:3"'),
        ("0.1:0", "must be 1 or more"),
        ("0.1:-2", "must be 1 or more"),
        ("-0.1", "from 0 to"),
        ("nan", "from 0 to"),
        ("1e400", "from 0 to"),
        ("1e39", "from 0 to"),
        ("0.1, 0.2:50", '"0.2:50" can never be used'),
        ("1e-3:50, 1e-4:20", "not after step 50"),
        ("1e-3:50, 1e-4:50", "not after step 50"),
        ("0.005：100", "is not"),
    ],
)
def test_nonsense_is_told_in_a_sentence(text: str, says: str) -> None:
    """What is wrong, with the part that is wrong."""
    with pytest.raises(InputError, match=says) as caught:
        parse_schedule(text)
    for problem in caught.value.problems:
        assert re.search("[\u4e00-\u9fff]", translated(problem, "zh_CN"))


def test_all_wrong_parts_are_told() -> None:
    """One sentence for each."""
    with pytest.raises(InputError) as caught:
        parse_schedule("a:5, 0.1:b, 0.1:9, 0.1:3")
    assert len(caught.value.problems) == 3


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(0, 10, allow_nan=False), min_size=1, max_size=6),
    st.lists(st.integers(1, 500), min_size=6, max_size=6, unique=True),
)
def test_a_written_schedule_is_read_as_it_was_meant(rates: list[float], steps: list[int]) -> None:
    """At every step the rate is that of the first piece that has not ended."""
    pieces = list(zip(rates, sorted(steps)))
    schedule = parse_schedule(",".join(f"{rate!r}:{step}" for rate, step in pieces))
    for step in range(pieces[-1][1]):
        assert schedule.at(step) == next(rate for rate, end in pieces if step < end)


@pytest.mark.parametrize("text", ["0,005", "0,005:100, 0,001", "0,5:10", "1,5e-3", "5e-3:100, 0,001"])
def test_a_decimal_comma_has_its_own_sentence(text: str) -> None:
    """In much of the world numbers are written so."""
    with refused("training.decimal_comma"):
        parse_schedule(text)


def test_commas_between_rates_are_none() -> None:
    """With steps there is no doubt."""
    assert parse_schedule("1:5,2:10,3").at(20) == 3
