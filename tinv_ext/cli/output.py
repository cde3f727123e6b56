"""What the command line prints: in any encoding, to a terminal that may be gone."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from typing import IO

from tinv_ext.core.printable import printable_lines

_CLOSED = (errno.EPIPE, errno.EINVAL)  # by whoever read it; the second is Windows'
_lost: list[OSError] = []  # why what was to be put out could not be, unless nobody reads it any more
log = logging.getLogger(__name__)


def begin_output() -> None:
    """Begin a command: characters that the output's encoding lacks, as a Windows code page does, become escapes."""
    _lost.clear()  # a new command
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show(text: str, stream: IO[str] | None = None) -> None:
    """Print lines; what came out of a file in them cannot steer the terminal.

    Where nobody reads it any more (a closed pipe or terminal, a full disk), that stops nothing.
    """
    stream = stream or sys.stdout
    try:
        print(printable_lines(text), file=stream, flush=True)
    except OSError as error:
        log.warning("The output could not be written: %s", error)
        if stream is sys.stdout and error.errno not in _CLOSED:
            _lost.append(error)
        _discard(stream)


def output_lost() -> bool:
    """Whether a part of the command's output could not be written, as on a full disk; not where the reader has left."""
    return bool(_lost)


def _discard(stream: IO[str]) -> None:
    """From here on nothing is written to the stream's file, also not when the program ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
