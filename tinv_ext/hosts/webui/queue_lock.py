"""Taking turns with the program's own generations at its queue."""

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
    """Hold the program's queue. Not re-entrant: a thread that already holds it waits forever.

    On leaving, everybody who waited at that moment goes first, so that coming back at once takes nobody's turn.
    """
    queue_lock.acquire()
    try:
        yield
    finally:
        _serve_waiting()
        queue_lock.release()


def others_waiting() -> bool:
    """Whether a generation, or anything else that wants the model, waits for the queue."""
    return bool(queue_lock._pending_threads)


def _serve_waiting() -> None:
    """Line up behind everybody who waits, leave, and return when it is our turn. The queue is held before and after."""
    our_turn = threading.Event()
    with queue_lock._inner_lock:
        if not queue_lock._pending_threads:
            return
        queue_lock._pending_threads.append(our_turn)
    queue_lock.release()
    our_turn.wait()
    queue_lock._lock.acquire()
