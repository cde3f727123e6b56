"""The ways in which a program is told to end, all as one wish: Ctrl-C, a closed terminal, a logout, `docker stop` …

Until a run has begun, the wish ends the program at once, without an exception: raised while torch is being imported,
one would end in "terminate called …" and a core dump. Nothing is lost, as files are written whole or not at all. A run
finishes its step and saves instead; a second Ctrl-C aborts it (KeyboardInterrupt), which saves, too: what an impatient
finger adds meanwhile is not heard.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

# Ctrl-C, logout and `kill`, the terminal is closed, Ctrl-Break: each system has some of them
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
# Windows' console: the window is closed, the user logs off, the system shuts down
_CLOSING = (2, 5, 6)
DONE = threading.Event()
"""Set once a command is over."""
_SAVING = 5.0  # seconds that an aborted run is given to save; where that hangs, the next Ctrl-C aborts it, too
_PATIENCE = 60.0  # seconds; Windows itself waits for 5 and then ends the process


@dataclass
class Ending:
    """Whether the program was asked to end. `stop` is what a run does about it, while there is one."""

    quit: Callable[[], None]  # ends the process
    asked: bool = False
    stop: Callable[[], None] | None = None
    over: threading.Event = field(default_factory=threading.Event)
    aborted: float = -math.inf  # when, by time.monotonic

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """While in here, the wish to end is answered with `stop`; a second Ctrl-C aborts."""
        self.stop = stop
        try:
            yield
        finally:
            self.stop = None

    def on_signal(self, number: int, frame: Any) -> None:
        """A signal has come."""
        again, self.asked = self.asked, True
        if self.stop is None:
            self.quit()
        elif not again:
            self.stop()
        elif number == signal.SIGINT and time.monotonic() - self.aborted > _SAVING:
            # a terminal that is closed and a logout send several of the others
            self.aborted = time.monotonic()
            raise KeyboardInterrupt

    def on_console(self, event: int) -> bool:
        """Windows tells of something in a thread of its own, and ends the process when this returns."""
        if event not in _CLOSING:
            return False
        if self.stop is None:
            self.quit()
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


def leave(code: int, words: str = "") -> NoReturn:
    """End the process now, with some last words: threads, files and all. What matters is on disk."""
    if words:
        with suppress(OSError):  # not by sys.stderr, which the signal may have struck in the middle of a word
            os.write(2, f"{words}\n".encode(sys.stderr.encoding or "utf-8", "backslashreplace"))
    os._exit(code)
