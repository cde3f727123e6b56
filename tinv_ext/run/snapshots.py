"""Snapshots: embeddings saved on the way, of which the last ones and the best are kept."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field

from tinv_ext.core.model import Model
from tinv_ext.core.training.fallbacks import retry_after_freeing
from tinv_ext.run.curve import read_curve
from tinv_ext.run.embedding_file import EmbeddingWriter
from tinv_ext.run.evaluations import Evaluations
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.tasks import Moment


@dataclass
class Snapshots:
    """Those of one run. Of them the last `keep` stay and the best by evaluation loss; all of them where it is 0."""

    name: str
    folder: RunFolder
    writer: EmbeddingWriter
    evaluations: Evaluations
    keep: int
    _saved: list[tuple[float, int]] = field(default_factory=list)  # the evaluation loss known by then, and the step

    def recall(self) -> None:
        """Take in what the run has saved and measured before it was stopped."""
        for row in read_curve(self.folder.curve):
            step = int(row["step"])
            with suppress(ValueError):  # not evaluated at this step
                self.evaluations.last = float(row.get("evaluation") or "")
            if self.folder.snapshot(self.name, step, self.writer.suffix).is_file():
                self._saved.append((self.evaluations.last, step))

    def save(self, moment: Moment, model: Model | None) -> None:
        """Write one, and remove those that are not to be kept."""
        # a handful of numbers: there is room for them the second time
        retry_after_freeing(None, lambda: self.write(moment.number))
        if self.keep:
            best = min(self._saved)
            for snapshot in self._saved[: -self.keep]:
                if snapshot != best or snapshot[0] == math.inf:
                    self.folder.snapshot(self.name, snapshot[1], self.writer.suffix).unlink(missing_ok=True)
                    self._saved.remove(snapshot)

    def write(self, step: int) -> None:
        """Write one."""
        self.writer.write("snapshot", self.folder.snapshot(self.name, step, self.writer.suffix))
        self._saved.append((self.evaluations.last, step))
