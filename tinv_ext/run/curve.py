"""loss.csv: one row for each step, on disk at once, and whole again after a crash."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from tinv_ext.core.atomic import atomic_write
from tinv_ext.core.errors import HostError

COLUMNS = ("step", "epoch", "loss", "learn_rate", "gradient_norm", "vector_norm", "distance", "evaluation")


class Curve:
    """Appends rows to the file; what cannot be written comes with a later row.

    The file is opened, and created again if somebody has deleted it, when there is a row to write. Rows that it has of
    steps after `step`, from before a crash, are then cut off.
    """

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        self._step = step
        self._file: FileIO | None = None
        self._waiting = b""

    @property
    def waits(self) -> bool:
        """Whether there are rows that could not be written yet."""
        return bool(self._waiting)

    def add(self, *values: object) -> None:
        """One row, in the order of `COLUMNS`; floats with nine digits. OSError or HostError if it has to wait."""
        shown = [f"{value:.9g}" if isinstance(value, float) else str(value) for value in values]
        self._waiting += (",".join(shown) + "\n").encode()
        written = self.opened().write(self._waiting)  # perhaps not all
        self._waiting = self._waiting[written:]
        if self._waiting:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(self) -> FileIO:
        """The file at its end; another one where somebody has deleted it."""
        if self._file is None or os.fstat(self._file.fileno()).st_nlink == 0:
            self.close()
            self._cut()
            self._file = FileIO(self._path, "a")
        return self._file

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _cut(self) -> None:
        rows = [row for row in read_curve(self._path) if int(row["step"]) <= self._step]
        with atomic_write(self._path) as target:
            lines = [",".join(COLUMNS), *(",".join(row.get(column) or "" for column in COLUMNS) for row in rows)]
            target.write(("\n".join(lines) + "\n").encode())


@contextmanager
def open_curve(path: Path, step: int) -> Iterator[Curve]:
    """The curve of a run that stands at `step`; -1 for one that begins."""
    curve = Curve(path, step)
    try:
        with suppress(OSError, HostError):  # the first row tries again and says so
            curve.opened()
        yield curve
    finally:
        curve.close()


def read_curve(path: Path) -> list[dict[str, str]]:
    """Rows as text by column; what a crash has cut short or filled with zeros is left out."""
    if not path.is_file():
        return []
    text = path.read_bytes().decode("utf-8", "replace").replace("\0", "")
    rows = [row for row in csv.DictReader(text.splitlines()) if None not in row.values() and None not in row]
    return [row for row in rows if row.get("step", "").isdecimal()]
