"""Runs in the order in which they began, whatever became of the times of their files."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tinv_ext.run.beginnings import named_time
from tinv_ext.run.run_folder import find_runs

OLDEST_FIRST = [
    "2026-01-30/wumpo-23-59-59",
    "2026-01-31/zibbo-2-09-00-00",
    "2026-01-31/abc-10-00-00",
    "2026-01-31/abc-10-00-00-2",
    "2026-01-31/abc-10-00-00-9",
    "2026-01-31/abc-10-00-00-10",
    "2026-01-31/abc-10-00-00-11",
    "2026-01-31/aaa-10-00-01",
    "2026-02-01/aaa-00-00-00",
]


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A place where clocks are put back."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def put(log: Path, run: str, written: float) -> None:
    """A run whose config.json has this time."""
    (log / run).mkdir(parents=True)
    (log / run / "config.json").write_text("{}")
    os.utime(log / run / "config.json", (written, written))


def found(log: Path) -> list[str]:
    """The runs, the oldest first."""
    return [run.id for run in find_runs(log)][::-1]


def test_a_copied_log_directory_is_in_order(tmp_path: Path) -> None:
    """Whatever the times of the files are now; runs of one second by their number."""
    now, runs = time.time(), list(OLDEST_FIRST)
    random.Random(1).shuffle(runs)
    for number, run in enumerate(runs):
        put(tmp_path, run, now + number)
    assert found(tmp_path) == OLDEST_FIRST


def test_a_run_that_does_not_say_when_it_began_stands_where_its_file_puts_it(tmp_path: Path) -> None:
    """A folder that was renamed, or has a time that is none."""
    for run in ("zibbo-09-00-00", "zibbo-11-00-00"):
        put(tmp_path, f"2026-01-31/{run}", 0)
    for number, run in enumerate(("mine", "zibbo-99-99-99")):
        put(tmp_path, f"2026-01-31/{run}", datetime(2026, 1, 31, 10, number).timestamp())
    names = [run.partition("/")[2] for run in found(tmp_path)]
    assert names == ["zibbo-09-00-00", "mine", "zibbo-99-99-99", "zibbo-11-00-00"]


def test_the_hour_that_comes_twice(tmp_path: Path, berlin: None) -> None:
    """The file's time tells which one it was, where it is that of the beginning; else it is taken for the first."""

    def at(hour: int, minute: int) -> float:
        return datetime(2026, 10, 25, hour, minute, tzinfo=timezone.utc).timestamp()

    for run, written in (
        ("a-02-30-00", at(0, 30)),
        ("b-02-10-00", at(1, 10)),
        ("c-02-40-00", at(1, 40)),
        ("d-02-20-00", at(12, 0)),  # it was resumed with other settings
        ("e-03-00-00", at(2, 0)),
        ("f-01-59-00", at(12, 0)),
    ):
        put(tmp_path, f"2026-10-25/{run}", written)
    assert [run.partition("/")[2][0] for run in found(tmp_path)] == ["f", "d", "a", "b", "c", "e"]


def test_the_time_in_a_name() -> None:
    """Of words that end in numbers, too; a day that is none has no time."""
    day = Path("2026-01-31")
    assert named_time(day / "x-1-10-00-02") == (datetime(2026, 1, 31, 10, 0, 2), 1)
    assert named_time(day / "x-10-00-00-3") == (datetime(2026, 1, 31, 10), 3)
    assert named_time(day / "x-10-00-00-12") == (datetime(2026, 1, 31, 0, 0, 12), 1)
    assert named_time(day / "x-10-00-00-12", numbered=True) == (datetime(2026, 1, 31, 10), 12)
    for run in ("2026-02-31/x-10-00-00", "2026-01-31/x", "2026-01-31/x-24-00-00", "9/x-10-00-00"):
        assert named_time(Path(run)) is None
