"""loss.csv: one row for each step, on disk at once, and whole again after a crash."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from tinv_ext.core.atomic import atomic_write
from tinv_ext.core.errors import HostError

log = logging.getLogger(__name__)
_LARGEST = 1 << 28  # bytes that are read: of more than a million steps
_STEP = re.compile(r"[0-9]{1,12}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?(e[+-]?[0-9]{1,4})?|inf|nan)")
COLUMNS = ("step", "epoch", "loss", "learn_rate", "gradient_norm", "vector_norm", "distance", "evaluation", "best")

_WIDTHS = (len(COLUMNS) - 1, len(COLUMNS))  # there was no column `best` before


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
        rows = [row for row in _rows(self._path) if int(row["step"]) <= self._step]
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
    """Rows as text by column, whatever the file holds; what is not a row of numbers is left out."""
    try:
        return _rows(path)
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error)
        return []


def best_of(evaluations: Sequence[tuple[int, float]], step: int | None) -> tuple[int, float] | None:
    """Step and loss of the best evaluation: at `step`, the best that the run named last, where it did.

    The lowest need not be it: lower by chance, or measured on other images before the run went on with new ones. Runs
    from before there was the column `best` have nothing else.
    """
    named = [pair for pair in evaluations if pair[0] == step]
    return named[-1] if named else min(evaluations, key=lambda pair: (pair[1], pair[0]), default=None)


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a curve. A column's name is that of the first line, or of `COLUMNS` where that line is damaged."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        lines = file.read(_LARGEST).decode("utf-8", "replace").replace("\0", "").splitlines()
    names = lines[0].split(",") if lines else []
    known = "step" in names and set(names) <= set(COLUMNS) and len(set(names)) == len(names)
    # not by the module csv: no field is ever quoted, and one stray quote would swallow all rows after it
    rows = [line.split(",") for line in lines]
    if known:
        found = [dict(zip(names, row)) for row in rows if len(row) == len(names)]
    else:
        found = [dict(zip(COLUMNS, row)) for row in rows if len(row) in _WIDTHS]
    return [row for row in found if _are_numbers(row)]


def _are_numbers(row: dict[str, str]) -> bool:
    return bool(_STEP.fullmatch(row["step"])) and all(not value or _NUMBER.fullmatch(value) for value in row.values())
