"""How far a run has got by its evaluations: what the rule that ends it compares, and the best vectors so far.

Part of the state, so that a run that resumes ends at the same step, with the same result, as one that never stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .stopping import Evaluation, Rule, as_good, lowest, may_end, needed


@dataclass(frozen=True, eq=False)
class Best:
    """The vectors of the best evaluation, on the CPU in the order of a state's leaves, and their step."""

    step: int
    vectors: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Progress:
    """Evaluations in the order of their steps, of which only those that are needed, and the best of all.

    `basis` says what was measured: numbers of different bases cannot be compared. Up to step `start` nothing was learnt
    on it. `beside` is the step of an evaluation that there is only because the run ended there, where it is as good as
    the best; it counts while the run stands there. `since` is the step from which patience counts, `ended` the terms
    under which the run has ended by itself, "" while it has not.
    """

    basis: str = ""
    start: int = 0
    evaluations: tuple[Evaluation, ...] = ()
    best: Best | None = None
    beside: int | None = None
    since: int = 0
    ended: str = ""

    def on_terms(self, basis: str, terms: str, step: int) -> Progress:
        """As it goes on from `step`: anew on another `basis`, with new patience where it has ended on other `terms`."""
        if self.basis != basis:
            return Progress(basis, step, since=step)
        return replace(self, ended="", since=step) if self.ended and self.ended != terms else self

    def begun_again(self, step: int) -> Progress:
        """As it goes on from `step` with the first vectors: what was measured before is of nothing learnt."""
        return Progress(self.basis, step, self.evaluations, since=step)

    def measured(self, evaluation: Evaluation, vectors: Sequence[Tensor], rule: Rule | None, terms: str) -> Progress:
        """With one evaluation more, in which the model had these `vectors`; ended where the rule says so."""
        best, good = self.best, self._as_good(evaluation)
        if good and evaluation.step > self.start:
            best = Best(evaluation.step, tuple(vector.detach().float().cpu().clone() for vector in vectors))
        kept = needed((*self.evaluations, evaluation), rule, self.start)
        ended = terms if rule and may_end(kept, rule, self.start, self.since) else ""
        return replace(self, evaluations=kept, best=best, beside=None, ended=ended)

    def measured_beside(self, evaluation: Evaluation) -> Progress:
        """With one that the rule does not count: a run that goes on from here is as if it had never ended here."""
        return replace(self, beside=evaluation.step if self._as_good(evaluation) else None)

    def _as_good(self, evaluation: Evaluation) -> bool:
        best = lowest([one for one in self.evaluations if one.step > self.start])
        return best is None or as_good(evaluation, best)

    def result(self, step: int) -> Best | None:
        """The best, where a run that stands at `step` is not as good itself; None where it is, or nobody knows."""
        return None if self.best is None or step in (self.best.step, self.beside) else self.best

    def tensors(self) -> dict[str, Tensor]:
        """The evaluations as a file holds them; `about` and the best vectors are kept beside."""
        if not self.evaluations:
            return {}
        return {
            "evaluations/steps": torch.tensor([one.step for one in self.evaluations], dtype=torch.int64),
            "evaluations/losses": torch.stack([one.losses for one in self.evaluations]),
        }

    def about(self) -> str:
        """All but tensors, as JSON."""
        facts = {name: getattr(self, name) for name in ("basis", "start", "beside", "since", "ended")}
        return json.dumps({**facts, "best": self.best and self.best.step})


def from_file(tensors: Mapping[str, Tensor], about: str | None, best: Sequence[Tensor] | None) -> Progress:
    """What `tensors` and `about` gave, with the best vectors; one that begins from a file without it.

    ValueError, TypeError or LookupError for what cannot be one.
    """
    if about is None:
        return Progress()
    facts = json.loads(about)
    evaluations: tuple[Evaluation, ...] = ()
    if "evaluations/steps" in tensors:
        steps, losses = tensors["evaluations/steps"].tolist(), tensors["evaluations/losses"]
        if losses.dim() != 2 or losses.dtype != torch.float64 or not bool(torch.isfinite(losses).all()):
            raise ValueError("its evaluations are no rows of losses")
        evaluations = tuple(Evaluation(int(step), row) for step, row in zip(steps, losses, strict=True))
    best_step, beside = (None if facts[key] is None else int(facts[key]) for key in ("best", "beside"))
    found = None if best_step is None else Best(best_step, tuple(best or ()))
    if found and not found.vectors:
        raise ValueError("its best vectors are missing")
    start, since = int(facts["start"]), int(facts["since"])
    return Progress(str(facts["basis"]), start, evaluations, found, beside, since, str(facts["ended"]))
