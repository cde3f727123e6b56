"""The curve of each word, in a run of several: the columns of loss.csv, with what is the word's own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

from tinv_ext.core.data.epochs import Epochs
from tinv_ext.core.model import Model
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.training.fallbacks import retry_after_freeing
from tinv_ext.core.training.state import State
from tinv_ext.core.training.trainer import Step
from tinv_ext.core.training.word_rates import USUAL
from tinv_ext.run.curve import Curve, open_curve
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.tasks import Moment


@contextmanager
def open_word_curves(prepared: PreparedRun, folder: RunFolder, step: int) -> Iterator[dict[str, Curve]]:
    """The curves of a run that stands at `step`, by word; none where it has a single one."""
    names = [word.name for word in prepared.words] if len(prepared.words) > 1 else []
    with ExitStack() as stack:
        yield {name: stack.enter_context(open_curve(folder.word_curve(name), step)) for name in names}


@dataclass(frozen=True)
class WordCurves:
    """Rows of them: the mean loss of the examples whose prompt has the word (none: empty), its rate, how long its
    vectors are and how far from where they began, and its own evaluation."""

    curves: Mapping[str, Curve]
    state: State
    epochs: Epochs
    prepared: PreparedRun

    @property
    def waits(self) -> bool:
        """Whether there are rows that could not be written yet."""
        return any(curve.waits for curve in self.curves.values())

    def add(self, moment: Moment, model: Model | None) -> None:
        """A row for each word."""
        lengths = retry_after_freeing(model, self._lengths)
        step = moment.step
        for name, curve in self.curves.items():
            measured = [numbers.get(name, "") for numbers in (moment.by_word, moment.best_by_word)]
            if step is None:
                curve.add(moment.number, 0, "", "", "", *lengths[name], *measured)
                continue
            epoch = self.epochs.over(step.number - 1)
            rate = step.rate * self.prepared.plan.paces.get(name, USUAL).at(step.number - 1)
            curve.add(step.number, epoch, self._loss(step, name), rate, "", *lengths[name], *measured)

    def _loss(self, step: Step, name: str) -> float | str:
        words = self.prepared.guidance
        readers = [self.prepared.reader, *([words.reader] if words else [])]
        losses = [
            loss
            for text, loss in zip(step.prompts, step.losses)
            if math.isfinite(loss) and any(reader.read(text).holds(name) for reader in readers)
        ]
        return sum(losses) / len(losses) if losses else ""

    def _lengths(self) -> dict[str, list[float]]:
        """Mean length and distance of each word's vectors, where these are largest; read from the device once."""
        rows = []
        for name, word in self.state.vectors.items():
            pairs = [(vectors.detach(), self.state.start[name][encoder]) for encoder, vectors in word.items()]
            both = [torch.stack([a.norm(dim=1).mean(), (a - b).norm(dim=1).mean()]) for a, b in pairs]
            rows.append(torch.stack(both).amax(0))
        return dict(zip(self.state.vectors, torch.stack(rows).tolist()))
