"""The ways in which a program is told to end, all as one wish: Ctrl-C, a closed terminal, a logout, `docker stop` …

Until a run has begun, the wish breaks off whatever is being done (KeyboardInterrupt). A run finishes its step and saves
instead; a second Ctrl-C aborts it. A second wish, of whatever kind, ends at once what is not a run.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

# Ctrl-C, logout and `kill`, the terminal is closed, Ctrl-Break: each system has some of them
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
# Windows' console: the window is closed, the user logs off, the system shuts down
_CLOSING = (2, 5, 6)
DONE = threading.Event()
"""Set once a command is over."""
_PATIENCE = 60.0  # seconds; Windows itself waits for 5 and then ends the process


@dataclass
class Ending:
    """Whether the program was asked to end. `stop` is what a run does about it, while there is one."""

    quit: Callable[[], None]
    asked: bool = False
    stop: Callable[[], None] | None = None
    over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """While in here, the wish to end is answered with `stop`; a second Ctrl-C aborts."""
        self.stop = stop
        try:
            if self.asked:  # while it loaded, where something has swallowed the exception
                stop()
            yield
        finally:
            self.stop = None

    def on_signal(self, number: int, frame: Any) -> None:
        """A signal has come."""
        again, self.asked = self.asked, True
        if self.stop is None:
            if again:
                self.quit()
            raise KeyboardInterrupt
        if not again:
            self.stop()
        elif number == signal.SIGINT:  # a terminal that is closed and a logout send several of the others
            raise KeyboardInterrupt

    def on_console(self, event: int) -> bool:
        """Windows tells of something in a thread of its own, and ends the process when this returns."""
        if event not in _CLOSING:
            return False
        if self.stop is None:
            _thread.interrupt_main()
        elif not self.asked:
            self.asked = True
            self.stop()
        self.over.wait(_PATIENCE)
        return True


@contextmanager
def watched(quit: Callable[[], None]) -> Iterator[Ending]:  # noqa: A002 (what it does)
    """Listen while in here. `quit` ends the process at once."""
    ending = Ending(quit)
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    before = {number: signal.getsignal(number) for number in _signals()}
    handled = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]  # nohup
    for number in handled:
        signal.signal(number, ending.on_signal)
    forget = _watch_console(ending.on_console, _windows()) if _windows() else None
    try:
        yield ending
    finally:
        ending.over.set()
        DONE.set()
        for number in handled:
            signal.signal(number, before[number])
        if forget:
            forget()


def _signals() -> list[signal.Signals]:
    return [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def _windows() -> Any:
    """Windows' kernel32 with the type of its handlers; None elsewhere."""
    return ctypes if sys.platform == "win32" else None


def _watch_console(on_console: Callable[[int], bool], library: Any) -> Callable[[], None]:
    """SetConsoleCtrlHandler; what is returned takes the handler away again. `library` is ctypes, on Windows."""
    handler = library.WINFUNCTYPE(library.c_int, library.c_uint)(on_console)
    set_handler = library.windll.kernel32.SetConsoleCtrlHandler
    set_handler(handler, True)
    return lambda: set_handler(handler, False)


def leave(code: int) -> NoReturn:
    """End the process now: threads, files and all. What matters is on disk."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # closed: nobody reads it
            continue
    os._exit(code)
