"""What the command line prints: in any encoding, to a terminal that may be gone."""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import IO

from tinv_ext.core.printable import printable_lines

log = logging.getLogger(__name__)


def write_escapes() -> None:
    """Have characters that the encoding of the output lacks, as a Windows code page does, written as escapes."""
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
        _discard(stream)


def _discard(stream: IO[str]) -> None:
    """From here on nothing is written to the stream's file, also not when the program ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
