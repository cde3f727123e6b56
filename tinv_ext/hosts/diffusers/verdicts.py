"""What precisions were found to be like on a model and a device: kept in a file, so that each is tested once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinv_ext.core.atomic import atomic_write
from tinv_ext.core.errors import HostError
from tinv_ext.core.small_files import parse_json, read_small

FILE = ".precisions.json"
"""In a log directory, beside its runs."""
_KEPT = 100
_SAMPLED = 1024  # blocks of a file
_BLOCK = 1 << 12  # bytes


@dataclass(frozen=True)
class Verdict:
    """The cosine of a gradient to float32's, NaN where it is not finite; how long it takes beside float32's (CPU only);
    and what torch says where it cannot be computed at all."""

    cosine: float
    slowness: float | None = None
    trouble: str = ""


def fingerprint(files: Iterable[Path]) -> str:
    """A digest of some blocks of every file: another one for another checkpoint, without reading all of it."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            digest.update(f"{size} ".encode())
            for place in range(0, size, max(_BLOCK, size // _SAMPLED)):
                file.seek(place)
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()[:32]


class Verdicts:
    """Those of one model on one device, named by `key`. Without a file nothing is kept.

    What is new is written by `write` alone: a model is opened, and tested, before it is known whether a run can begin,
    and where none does, nothing may have been written.
    """

    def __init__(self, file: Path | None, key: str) -> None:
        self._file = file
        self._key = key
        self._new: dict[str, Verdict] = {}

    def of(self, precision: str) -> Verdict | None:
        """What was found before, if anything."""
        found = [entry for entry in self._entries() if self._is_of(entry, [precision])]
        return self._new.get(precision) or (_verdict(found[-1]) if found else None)

    def keep(self, precision: str, verdict: Verdict) -> None:
        """What has been found now."""
        self._new[precision] = verdict

    def write(self) -> None:
        """Write what is new into the file where its folder is there; where that fails, it is found again next time."""
        if self._file is None or not self._new or not self._file.parent.is_dir():
            return
        others = [entry for entry in self._entries() if not self._is_of(entry, self._new)]
        new = [
            {"of": self._key, "precision": precision, **asdict(verdict), "cosine": _number(verdict.cosine)}
            for precision, verdict in self._new.items()
        ]
        with suppress(HostError), atomic_write(self._file) as file:
            file.write(json.dumps([*others, *new][-_KEPT:], indent=1).encode())
            self._new = {}

    def _is_of(self, entry: dict[str, Any], precisions: Collection[str]) -> bool:
        return entry.get("of") == self._key and entry.get("precision") in precisions

    def _entries(self) -> list[dict[str, Any]]:
        """All of the file that are what was written; none where it cannot be read."""
        try:
            read = parse_json(read_small(self._file, 1 << 20)) if self._file else []
        except (OSError, ValueError):
            return []
        return [one for one in read if isinstance(one, dict) and _verdict(one)] if isinstance(read, list) else []


def _verdict(entry: dict[str, Any]) -> Verdict | None:
    cosine, slowness, trouble = entry.get("cosine"), entry.get("slowness"), entry.get("trouble")
    if not (_is_number(cosine) and _is_number(slowness) and isinstance(trouble, str)):
        return None
    return Verdict(math.nan if cosine is None else float(cosine), slowness, trouble)


def _number(cosine: float) -> float | None:
    """As JSON has it."""
    return None if math.isnan(cosine) else cosine


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
