"""Snapshots: embeddings saved on the way, of which the last ones and the best are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from tinv_ext.core.data.epochs import Epochs
from tinv_ext.core.model import Model
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.fallbacks import retry_after_freeing
from tinv_ext.run.curve import read_curve
from tinv_ext.run.embedding_file import EmbeddingWriter
from tinv_ext.run.evaluations import Evaluations
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.tasks import Moment

Saved = tuple[float, int, tuple[Path, ...]]  # the evaluation loss known by then, the step, its files


@dataclass
class Snapshots:
    """Those of one run. The best by evaluation loss stays, and of the others as many and those as recent as is set.

    One that is due because an epoch is over has the epoch in its name.
    """

    config: TrainConfig
    folder: RunFolder
    writer: EmbeddingWriter
    evaluations: Evaluations
    epochs: Epochs
    _saved: list[Saved] = field(default_factory=list)

    def recall(self) -> None:
        """Take in what the run has saved and measured before it was stopped, in whatever format that was."""
        by_word = [self.folder.snapshots(name) for name in self.writer.names]
        for row in read_curve(self.folder.curve):
            step = int(row["step"])
            if evaluation := row.get("evaluation"):
                self.evaluations.take(float(evaluation))
            files = [file for found in by_word for file in found.get(step, ())]
            groups = [tuple(files)] if len(by_word) > 1 and files else [(file,) for file in files]
            self._saved += [(self.evaluations.last, step, group) for group in groups]

    def save(self, moment: Moment, model: Model | None) -> None:
        """Write one, and remove those that are not to be kept."""
        # a handful of numbers: there is room for them the second time
        retry_after_freeing(None, lambda: self.write(moment.number))
        best = min(self._saved)
        for snapshot in self._outdated(moment.number):
            if snapshot != best or snapshot[0] == math.inf:
                for file in snapshot[2]:
                    file.unlink(missing_ok=True)
                self._saved.remove(snapshot)

    def _outdated(self, now: int) -> list[Saved]:
        """Those beyond either limit at step `now`."""
        count, steps = self.config.keep_snapshots, self.config.keep_snapshot_steps  # of which 0 is no limit
        too_many = self._saved[:-count] if count else []
        too_old = [one for one in self._saved if steps and one[1] < now - steps]
        return [one for one in self._saved if one in too_many or one in too_old]

    def write_once(self, step: int) -> None:
        """Write the one of a step where there is none yet."""
        if step not in {saved for _, saved, _ in self._saved}:
            self.write(step)

    def write(self, step: int) -> None:
        """Write one of each word."""
        epoch = self.epochs.over(step) if self.epochs.ends(step, self.config.save_every_n_epochs) else 0
        suffix = self.writer.suffix
        files = {name: self.folder.snapshot(name, step, suffix, epoch) for name in self.writer.names}
        for name, file in files.items():
            self.writer.write("snapshot", file, word=name)
        self._saved.append((self.evaluations.last, step, tuple(files.values())))
