"""Work on the next items by threads while the present one is used: decoding files, which leaves Python's lock alone."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_MOST = 4  # threads; each may hold a decoded image of many megabytes


def threads() -> int:
    """How many work ahead here."""
    return min(_MOST, os.cpu_count() or 1)


def ahead(work: Callable[[T], R], items: Iterable[T], count: int | None = None) -> Generator[R, None, None]:
    """`work` of each item, in their order, at most `count` items ahead (`threads` of them by default).

    What it raises is raised where its item's turn comes. Close the iterator where it is left early: it then waits for
    what has begun, and begins nothing more.
    """
    count = threads() if count is None else count
    if count < 2:
        yield from map(work, items)
        return
    left = iter(items)
    with ThreadPoolExecutor(count, "tinv-ahead") as pool:
        begun: deque[Future[R]] = deque(pool.submit(work, item) for item in islice(left, count))
        try:
            while begun:
                result = begun.popleft().result()
                begun.extend(pool.submit(work, item) for item in islice(left, 1))
                yield result
        finally:
            for future in begun:
                future.cancel()
