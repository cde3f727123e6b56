"""What has become of a list of runs: a row for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinv_ext.core.printable import valid_json
from tinv_ext.run.curve import best_of, read_curve
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.scheduler.entry import FAILED, Entry, Known


@dataclass(frozen=True)
class Row:
    """An entry of the list with its outcome. `best` is the evaluation loss at its `best_step`."""

    name: str
    steps: int
    total: int
    best: float | None
    best_step: int | None
    file: str | None
    seconds: float
    outcome: str
    reason: str
    settings: str
    run: str | None


def summary_of(entries: Sequence[Entry], outcomes: Mapping[str, tuple[str, str]]) -> list[Row]:
    """A row for each entry, in the order of the list."""
    return [_row(entry, *outcomes[entry.name]) for entry in entries]


def as_json(rows: Sequence[Row]) -> dict[str, Any]:
    """The rows as JSON can hold them; the best run's name is said, too."""
    judged = [row for row in rows if row.best is not None]
    best = min(judged, key=lambda row: row.best or 0.0).name if judged else None
    value: dict[str, Any] = valid_json({"runs": [asdict(row) for row in rows], "best": best})
    return value


def _row(entry: Entry, outcome: str, reason: str) -> Row:
    known = Known(entry.events).read()
    run = known.run if known.run and RunFolder(known.run).is_there else None
    if run is None:
        return Row(entry.name, 0, 0, None, None, None, known.all_seconds, outcome, reason, str(entry.file), None)
    status = RunFolder(run).last_status()
    step, best = _best_of(run) or (None, None)
    if outcome == FAILED and status.status == "failed":
        reason = status.reason or reason
    return Row(
        name=entry.name,
        steps=status.steps,
        total=status.total,
        best=best,
        best_step=step,
        file=status.file,
        seconds=round(known.all_seconds, 1),
        outcome=outcome,
        reason=str(reason),
        settings=str(entry.file),
        run=str(run),
    )


def _best_of(run: Path) -> tuple[int, float] | None:
    rows = [row for row in read_curve(RunFolder(run).curve) if row.get("evaluation")]
    found = [(int(row["step"]), float(row["evaluation"])) for row in rows]
    named = rows[-1].get("best") if rows else None
    return best_of([pair for pair in found if math.isfinite(pair[1])], int(float(named)) if named else None)
