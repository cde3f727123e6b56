"""When a run began: its folder says it, <date>/<name>-<time>, and stays right where its files are copied."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

_NAMED = re.compile(r"(.*)-(\d\d)-(\d\d)-(\d\d)(?:-(\d{1,3}))?", re.DOTALL)
_NEAR = 60.0  # seconds from the making of a run's folder to its config.json, at most


def newest_first(runs: Iterable[Path]) -> list[Path]:
    """Folders of runs; those that do not say when they began stand where the time of their config.json puts them."""
    paths = list(runs)
    there = set(paths)
    return sorted(paths, key=lambda path: (*_began(path, there), path.name), reverse=True)


def named_time(path: Path, numbered: bool = False) -> tuple[datetime, int] | None:
    """The local time in the name of a run's folder, and which one of that second it is; None where it has none.

    Where the last number could be either, it is `numbered`, or the seconds.
    """
    name, number = path.name, 1
    if numbered and (head := re.fullmatch(r"(.*)-(\d{1,3})", name, re.DOTALL)) and _NAMED.fullmatch(head[1]):
        name, number = head[1], int(head[2])
    match = _NAMED.fullmatch(name)
    if match is None:
        return None
    with suppress(ValueError):  # 99-99-99 is part of a name
        day = datetime.strptime(path.parent.name, "%Y-%m-%d")
        return day.replace(hour=int(match[2]), minute=int(match[3]), second=int(match[4])), int(match[5] or number)
    return None


def _began(path: Path, there: set[Path]) -> tuple[float, int, float]:
    """Seconds since the epoch, which one of that second it is, and when config.json was written."""
    written = _written(path / "config.json")
    named = named_time(path, numbered=path.with_name(path.name.rpartition("-")[0] or path.name) in there)
    if named is None:
        return written, 1, written
    time, number = named
    with suppress(OverflowError, OSError, ValueError):
        return _seconds(time, written), number, written
    return written, 1, written


def _seconds(time: datetime, written: float) -> float:
    """A local time as seconds; of one that the clock showed twice, that at which config.json was written."""
    first, second = time.timestamp(), time.replace(fold=1).timestamp()
    return second if abs(written - second) < _NEAR else first


def _written(config: Path) -> float:
    try:
        return config.stat().st_mtime
    except OSError:  # a link to nothing, or deleted meanwhile
        return 0.0
