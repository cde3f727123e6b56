"""Snapshots: embeddings saved on the way, of which the last ones and the best are kept."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tinv_ext.core.model import Model
from tinv_ext.core.suffixes import RUN_SUFFIXES
from tinv_ext.core.training.fallbacks import retry_after_freeing
from tinv_ext.run.curve import read_curve
from tinv_ext.run.embedding_file import EmbeddingWriter
from tinv_ext.run.evaluations import Evaluations
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.tasks import Moment


@dataclass
class Snapshots:
    """Those of one run. The best by evaluation loss stays, of the others the last `keep` and those of the last steps.

    `keep` and `keep_steps` are limits, and 0 is none.
    """

    name: str
    folder: RunFolder
    writer: EmbeddingWriter
    evaluations: Evaluations
    keep: int
    keep_steps: int
    _saved: list[tuple[float, int, Path]] = field(default_factory=list)  # evaluation loss known by then, step, file

    def recall(self) -> None:
        """Take in what the run has saved and measured before it was stopped, in whatever format that was."""
        for row in read_curve(self.folder.curve):
            step = int(row["step"])
            with suppress(ValueError):  # not evaluated at this step
                self.evaluations.last = float(row.get("evaluation") or "")
            for suffix in RUN_SUFFIXES:
                if (file := self.folder.snapshot(self.name, step, suffix)).is_file():
                    self._saved.append((self.evaluations.last, step, file))

    def save(self, moment: Moment, model: Model | None) -> None:
        """Write one, and remove those that are not to be kept."""
        # a handful of numbers: there is room for them the second time
        retry_after_freeing(None, lambda: self.write(moment.number))
        best = min(self._saved)
        for snapshot in self._outdated(moment.number):
            if snapshot != best or snapshot[0] == math.inf:
                snapshot[2].unlink(missing_ok=True)
                self._saved.remove(snapshot)

    def _outdated(self, now: int) -> list[tuple[float, int, Path]]:
        """Those beyond either limit at step `now`."""
        too_many = self._saved[: -self.keep] if self.keep else []
        too_old = [one for one in self._saved if self.keep_steps and one[1] < now - self.keep_steps]
        return [one for one in self._saved if one in too_many or one in too_old]

    def write(self, step: int) -> None:
        """Write one."""
        file = self.folder.snapshot(self.name, step, self.writer.suffix)
        self.writer.write("snapshot", file)
        self._saved.append((self.evaluations.last, step, file))
