"""Work is done ahead by threads, in the order of its items, and no further than it may."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from tinv_ext.core.data.ahead import ahead


def test_results_come_in_the_order_of_the_items() -> None:
    """Also where an earlier one takes longer than a later one."""
    later = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert later.wait(10)
        else:
            later.set()
        return item * item

    assert list(ahead(work, range(20), 3)) == [item * item for item in range(20)]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_it_is_so_many_items_ahead_at_most(count: int) -> None:
    """What is decoded waits in memory; where there is one thread, there is none."""
    begun: list[int] = []
    names: set[str] = set()

    def work(item: int) -> int:
        begun.append(item)
        names.add(threading.current_thread().name)
        return item

    with closing(ahead(work, range(100), count)) as results:
        for done, _ in enumerate(results, 1):
            assert len(begun) <= done + count
            if done == 10:
                break
    assert len(begun) <= 10 + count
    assert any(name.startswith("tinv-ahead") for name in names) is (count > 1)


def test_an_error_is_raised_in_its_turn() -> None:
    """What came before it is not lost."""

    def work(item: int) -> int:
        if item == 3:
            raise ValueError(item)
        return item

    results = ahead(work, range(10), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="3"):
        next(results)
