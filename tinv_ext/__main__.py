"""`python -m tinv_ext …`, and the command `tinv`."""

import signal
import sys


def run() -> None:
    """Carry out the command, and end with its exit code; Ctrl-C shows no traceback, however early or late it comes."""
    try:
        from tinv_ext.cli.main import main
    except KeyboardInterrupt:
        print("tinv: stopped before it was done.", file=sys.stderr)  # what could say it in Chinese is not there yet
        sys.exit(3)
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is over: only the libraries' leave-taking is left
    sys.exit(code)


if __name__ == "__main__":
    run()
