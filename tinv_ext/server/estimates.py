"""How long a run will take and how much memory it needs, from what earlier runs and checks have measured.

A step's time grows with the images in it and their pixels; that is not exact, and is shown as "about".
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tinv_ext.core.atomic import atomic_write
from tinv_ext.core.errors import HostError
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.small_files import parse_json, read_small
from tinv_ext.run.dry_run import DryRun

FILE = ".estimates.json"
"""In a log directory, beside its runs."""
_KEPT = 50
_LONGEST = 1e6  # seconds of a step

Facts = Mapping[str, str | None]


@dataclass(frozen=True)
class Measured:
    """One measurement: the model, pixels of an image, images of a step and of one pass, seconds of a step, bytes."""

    model: str
    pixels: int
    examples: int
    batch: int
    seconds: float
    memory: int | None = None


class Estimates:
    """What was measured since the program was started, and what is kept in log directories."""

    def __init__(self) -> None:
        self._here: list[Measured] = []
        self._lock = threading.Lock()

    def learn(self, facts: Facts, config: TrainConfig, seconds: float, memory: int | None = None) -> None:
        """Remember how long a step took; width and height are set."""
        with self._lock:
            self._here = [*self._here, _measured(facts, config, seconds, memory)][-_KEPT:]

    def learn_tried(self, facts: Facts, config: TrainConfig, tried: DryRun) -> None:
        """Remember what a check has tried out."""
        self.learn(facts, config, median(tried.seconds), tried.memory)

    def keep(self, folder: Path) -> None:
        """Write what is known into a log directory; it is no loss where that fails."""
        with self._lock:
            here = self._here
        kept = [one for one in _read(folder) if one not in here]
        try:
            with atomic_write(folder / FILE) as file:
                file.write(json.dumps([asdict(one) for one in [*kept, *here][-_KEPT:]]).encode())
        except HostError:
            return

    def of(self, facts: Facts, config: TrainConfig, folder: Path) -> tuple[float | None, int | None]:
        """Seconds of a step and bytes of the device's memory, as far as is known; width and height are set."""
        asked = _measured(facts, config, 0.0, None)
        with self._lock:
            known = [*_read(folder), *self._here]
        same = [one for one in known if one.model == asked.model]
        if not same:
            return None, None
        work = asked.pixels * asked.examples
        near = min(reversed(same), key=lambda one: abs(one.pixels * one.examples - work))
        alike = [one for one in same if (one.pixels, one.batch) == (asked.pixels, asked.batch)]
        memory = next((one.memory for one in reversed(alike) if one.memory), None)
        return near.seconds * work / (near.pixels * near.examples), memory


def _measured(facts: Facts, config: TrainConfig, seconds: float, memory: int | None) -> Measured:
    model = str(facts.get("model_hash") or facts.get("model_name") or "")
    pixels = max(1, config.width * config.height)
    return Measured(model, pixels, config.examples_per_step, config.batch_size, seconds, memory)


def _read(folder: Path) -> list[Measured]:
    """What is kept in a log directory; nothing where it cannot be read."""
    try:
        return [one for one in map(_one, parse_json(read_small(folder / FILE, 1 << 20))) if one]
    except (OSError, ValueError, TypeError):
        return []


def _one(entry: Any) -> Measured | None:
    kinds = {"model": str, "pixels": int, "examples": int, "batch": int, "seconds": float}
    if not isinstance(entry, dict) or not all(type(entry.get(name)) is kind for name, kind in kinds.items()):
        return None
    if not (entry["pixels"] > 0 and entry["examples"] > 0 and 0 < entry["seconds"] < _LONGEST):
        return None
    memory = entry.get("memory")
    return Measured(**{name: entry[name] for name in kinds}, memory=memory if type(memory) is int else None)
