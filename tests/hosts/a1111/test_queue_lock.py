"""Generations that wait for the WebUI's queue get their turn between two sessions of a run, in order and at once."""

from __future__ import annotations

import threading
import time
from typing import Any

from tests.hosts.a1111.ldm_model import needs_ldm

pytestmark = needs_ldm
PATIENCE = 20.0  # seconds after which a test has failed rather than hang


def generation(lock: Any, served: list[str], name: str) -> threading.Thread:
    """A generation: waits for the queue, works a little, and is gone."""

    def work() -> None:
        with lock:
            time.sleep(0.002)
            served.append(name)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def wait_until(condition: Any) -> None:
    """Until it holds, or the test has failed."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_nobody_is_passed_over(webui: Any) -> None:
    """Twenty requests in a row, each served between the two sessions where it came, although we come back at once."""
    lock = webui.modules["modules.call_queue"].queue_lock
    served: list[str] = []
    for number in range(20):
        with webui.host.training(1):
            assert not webui.host.wanted()
            thread = generation(lock, served, f"generation {number}")
            wait_until(webui.host.wanted)
            served.append("step")
        webui.host.let_others_in()
        assert served[-1] == f"generation {number}"
        thread.join(PATIENCE)
    assert served.count("step") == 20


def test_all_who_wait_are_served_in_order(webui: Any) -> None:
    """Five at once: five turns, then ours."""
    lock = webui.modules["modules.call_queue"].queue_lock
    served: list[str] = []
    with webui.host.training(1):
        for number in range(5):
            generation(lock, served, str(number))
            wait_until(lambda number=number: len(lock._pending_threads) == number + 1)
    assert served == ["0", "1", "2", "3", "4"]


def test_the_queue_is_free_outside_of_training(webui: Any) -> None:
    """A paused run is outside of it; an error inside leaves it free, too."""
    lock = webui.modules["modules.call_queue"].queue_lock
    served: list[str] = []
    try:
        with webui.host.training(1):
            generation(lock, served, "generation")
            wait_until(webui.host.wanted)
            raise MemoryError
    except MemoryError:
        assert served == ["generation"]
    assert not lock._lock.locked()
    assert not lock._pending_threads


def test_a_generation_finds_the_webui_as_it_was(webui: Any) -> None:
    """When its turn comes, all of the run's changes are undone."""
    lock = webui.modules["modules.call_queue"].queue_lock
    sd_model = webui.shared.sd_model
    flags = [weight.requires_grad for weight in sd_model.parameters()]
    found: list[list[bool]] = []

    def look() -> None:
        with lock:
            found.append([weight.requires_grad for weight in sd_model.parameters()])

    with webui.host.training(1):
        threading.Thread(target=look, daemon=True).start()
        wait_until(webui.host.wanted)
    assert found == [flags]
    assert any(flags)
