"""`python -m tinv_ext …`, and the command `tinv`."""

import os
import signal
import sys
from types import FrameType


def run() -> None:
    """Carry out the command, and end with its exit code; a wish to end is heard however early or late it comes."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _early_or_late)
    from tinv_ext.cli.main import main

    sys.exit(main())


def _early_or_late(number: int, frame: FrameType | None) -> None:
    """Before the command has begun, end the program. When it is over, only the libraries' leave-taking is left."""
    signals = sys.modules.get("tinv_ext.cli.signals")
    if signals is not None and signals.DONE.is_set():
        return
    print("tinv: stopped before it was done.", file=sys.stderr, flush=True)  # no other language is loaded yet
    os._exit(3)


if __name__ == "__main__":
    run()
