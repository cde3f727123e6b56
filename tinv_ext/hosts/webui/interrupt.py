"""The program's own Interrupt button, which stops a run as it stops a generation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from modules import shared

from tinv_ext.hosts.webui.queue_lock import others_waiting

_SERVER_REQUESTS = ("request_restart", "request_stop")


class Interrupt:
    """Whether Interrupt was pressed while the run had the queue. While somebody waits for the queue, it is theirs.

    v1.10.1 modules/shared_state.py: page and API call `shared.state.interrupt()`, and so do `request_restart` ("Reload
    UI") and `request_stop`, which are not meant for a run. That is why the caller is looked at.
    """

    def __init__(self) -> None:
        self._pressed = False

    def taken(self) -> bool:
        """Whether it was pressed since this was last asked: also while the model was being taken, or given back."""
        pressed, self._pressed = self._pressed, False
        return pressed

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While open, the button is watched. The program's own flag is restored on exit."""
        state = shared.state
        before = {name: state.__dict__[name] for name in ("interrupted", "interrupt") if name in state.__dict__}
        original = state.interrupt
        methods = (getattr(type(state), name, None) for name in _SERVER_REQUESTS)
        server_requests = [method.__code__ for method in methods if method is not None]

        def interrupt() -> None:
            if sys._getframe(1).f_code not in server_requests and not others_waiting():
                self._pressed = True
            original()

        try:
            state.interrupted = False
            state.interrupt = interrupt
            yield
        finally:
            del state.interrupt, state.interrupted
            state.__dict__.update(before)
