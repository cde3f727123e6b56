"""How far a run has got by its evaluations: what the rule that ends it compares, and the best vectors so far.

Part of the state, so that a run that resumes ends at the same step, with the same result, as one that never stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from tinv_ext.core.model import Words

from .stopping import Evaluation, Rule, as_good, lowest, may_end, needed

_OF = "progress_of"  # before a word, in the names of tensors


@dataclass(frozen=True, eq=False)
class Best:
    """The vectors of the best evaluation, on the CPU in the order of a state's leaves, and their step."""

    step: int
    vectors: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Share:
    """One of several words in an evaluation: the places of the draws that are its own, and its vectors then."""

    places: Sequence[int]
    vectors: Sequence[Tensor]


ALONE: Mapping[str, Share] = {}
"""Of a run with one word: what is its own is the run's."""


@dataclass(frozen=True, eq=False)
class Progress:
    """Evaluations in the order of their steps, of which only those that are needed, and the best of all.

    `basis` says what was measured: numbers of different bases cannot be compared. Up to step `start` nothing was learnt
    on it. `beside` is the step of an evaluation that there is only because the run ended there, where it is as good as
    the best; it counts while the run stands there. `since` is the step from which patience counts, `ended` the terms
    under which the run has ended by itself, "" while it has not. Of several `words`, each has one of its own draws,
    whose best is of its own vectors; it ends nothing.
    """

    basis: str = ""
    start: int = 0
    evaluations: tuple[Evaluation, ...] = ()
    best: Best | None = None
    beside: int | None = None
    since: int = 0
    ended: str = ""
    words: Mapping[str, Progress] = field(default_factory=dict)

    def on_terms(self, basis: str, terms: str, step: int) -> Progress:
        """As it goes on from `step`: anew on another `basis`, with new patience where it has ended on other `terms`."""
        if self.basis != basis:
            return Progress(basis, step, since=step)
        return replace(self, ended="", since=step) if self.ended and self.ended != terms else self

    def begun_again(self, step: int) -> Progress:
        """As it goes on from `step` with the first vectors: what was measured before is of nothing learnt."""
        words = {name: one.begun_again(step) for name, one in self.words.items()}
        return Progress(self.basis, step, self.evaluations, since=step, words=words)

    def measured(
        self,
        evaluation: Evaluation,
        vectors: Sequence[Tensor],
        rule: Rule | None = None,
        terms: str = "",
        shares: Mapping[str, Share] = ALONE,
    ) -> Progress:
        """With one evaluation more, in which the model had these `vectors`; ended where the rule says so.

        Of several words, each has its share of it.
        """
        best, good = self.best, self._as_good(evaluation)
        if good and evaluation.step > self.start:
            best = Best(evaluation.step, tuple(vector.detach().float().cpu().clone() for vector in vectors))
        kept = needed((*self.evaluations, evaluation), rule, self.start)
        ended = terms if rule and may_end(kept, rule, self.start, self.since) else ""
        words = {
            name: self._of(name).measured(evaluation.part(share.places), share.vectors)
            for name, share in shares.items()
        }
        return replace(self, evaluations=kept, best=best, beside=None, ended=ended, words=words)

    def measured_beside(self, evaluation: Evaluation, shares: Mapping[str, Share] = ALONE) -> Progress:
        """With one that the rule does not count: a run that goes on from here is as if it had never ended here."""
        words = {name: self._of(name).measured_beside(evaluation.part(share.places)) for name, share in shares.items()}
        return replace(self, beside=evaluation.step if self._as_good(evaluation) else None, words=words)

    def _of(self, word: str) -> Progress:
        return self.words.get(word) or Progress(self.basis, self.start, since=self.since)

    def _as_good(self, evaluation: Evaluation) -> bool:
        best = lowest([one for one in self.evaluations if one.step > self.start])
        return best is None or as_good(evaluation, best)

    def result(self, step: int) -> Best | None:
        """The best, where a run that stands at `step` is not as good itself; None where it is, or nobody knows."""
        return None if self.best is None or step in (self.best.step, self.beside) else self.best

    def best_step(self, step: int) -> int:
        """The step whose vectors a run that stands at `step`, which it has just evaluated, would leave."""
        best = self.result(step)
        return best.step if best else step

    def result_of(self, word: str, words: Words, step: int) -> Best | None:
        """The same for one of the `words` of a run, with its vectors alone: by its own evaluation, if it has one."""
        if word in self.words:
            return self.words[word].result(step)
        best = self.result(step)
        if best is None:
            return None
        values = iter(best.vectors)
        by_word = {name: tuple(next(values) for _ in vectors) for name, vectors in words.items()}
        return Best(best.step, by_word[word])

    def best_beside(self, words: Words) -> Iterator[tuple[Sequence[Tensor], Sequence[Tensor]]]:
        """The vectors of each best that there is, beside those of the run that must have their shapes."""
        if self.best:
            yield self.best.vectors, [vectors for word in words.values() for vectors in word.values()]
        for name, one in self.words.items():
            yield from one.best_beside({name: words[name]})

    def tensors(self) -> dict[str, Tensor]:
        """The evaluations as a file holds them, and the best vectors of single words; the rest is kept beside."""
        found = {}
        if self.evaluations:
            found["evaluations/steps"] = torch.tensor([one.step for one in self.evaluations], dtype=torch.int64)
            found["evaluations/losses"] = torch.stack([one.losses for one in self.evaluations])
        for name, one in self.words.items():
            best = one.best.vectors if one.best else ()
            own = {**one.tensors(), **{f"best/{place}": vectors for place, vectors in enumerate(best)}}
            found |= {f"{_OF}/{name}/{key}": value for key, value in own.items()}
        return found

    def about(self) -> str:
        """All but tensors, as JSON."""
        return json.dumps(self._facts())

    def _facts(self) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in ("basis", "start", "beside", "since", "ended")}
        words = {"words": {name: one._facts() for name, one in self.words.items()}} if self.words else {}
        return {**facts, "best": self.best and self.best.step, **words}


def from_file(tensors: Mapping[str, Tensor], about: str | None, best: Sequence[Tensor] | None) -> Progress:
    """What `tensors` and `about` gave, with the best vectors; one that begins from a file without it.

    ValueError, TypeError or LookupError for what cannot be one.
    """
    return Progress() if about is None else _from_facts(tensors, json.loads(about), best)


def _from_facts(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], best: Sequence[Tensor] | None) -> Progress:
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
    words = {name: _of_word(tensors, f"{_OF}/{name}/", own) for name, own in facts.get("words", {}).items()}
    return Progress(str(facts["basis"]), start, evaluations, found, beside, since, str(facts["ended"]), words)


def _of_word(tensors: Mapping[str, Tensor], prefix: str, facts: Mapping[str, Any]) -> Progress:
    own = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
    count = sum(key.startswith("best/") for key in own)
    return _from_facts(own, facts, [own[f"best/{place}"] for place in range(count)])
