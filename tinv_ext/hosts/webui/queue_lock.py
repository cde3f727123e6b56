"""Taking turns with the WebUI's own generations at its queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

# v1.10.1 modules/call_queue.py and modules/fifo_lock.py. Private there: `_lock` (held by who works), `_inner_lock`, and
# `_pending_threads`, a deque with an event for each who waits; release() sets the first event and frees `_lock`, so
# that a quick newcomer can still be faster than the one who was woken.
from modules.call_queue import queue_lock


@contextmanager
def holding_queue() -> Iterator[None]:
    """Holding the WebUI's queue. Not re-entrant: who holds it already waits for ever.

    On leaving, all who waited at that moment are let through first, so that coming back at once takes nobody's turn.
    """
    queue_lock.acquire()
    try:
        yield
    finally:
        _let_through()
        queue_lock.release()


def others_waiting() -> bool:
    """Whether a generation, or anything else that wants the model, waits for the queue."""
    return bool(queue_lock._pending_threads)


def _let_through() -> None:
    """Queue up behind those who wait, leave, and come back when it is our turn. The queue is held before and after."""
    mine = threading.Event()
    with queue_lock._inner_lock:
        if not queue_lock._pending_threads:
            return
        queue_lock._pending_threads.append(mine)
    queue_lock.release()
    mine.wait()
    queue_lock._lock.acquire()
