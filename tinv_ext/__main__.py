"""`python -m tinv_ext …`, and the command `tinv`."""

import os
import signal
import sys
from types import FrameType


def run() -> None:
    """Carry out the command, and end with its exit code; a wish to end is heard however early or late it comes."""
    for number in _handled():
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _early_or_late)
    from tinv_ext.cli.main import main

    code = main()
    for number in (number for number in _handled() if signal.getsignal(number) is _early_or_late):
        signal.signal(number, signal.SIG_IGN)  # Python would end by the signal, not with the code, while it is leaving
    sys.exit(code)


def _handled() -> list[signal.Signals]:
    """The signals by which a program is told to end, of those that the system has."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def _early_or_late(number: int, frame: FrameType | None) -> None:
    """Before the command has begun, end the program. When it is over, only the libraries' leave-taking is left."""
    signals = sys.modules.get("tinv_ext.cli.signals")
    if signals is not None and signals.DONE.is_set():
        return
    print("tinv: stopped before it was done.", file=sys.stderr, flush=True)  # no other language is loaded yet
    os._exit(3)


if __name__ == "__main__":
    run()
