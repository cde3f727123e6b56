"""How fast each word of a run is trained, and for how long: several words in one run, each at its own pace."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tinv_ext.core.prompts.reader import Prompt


@dataclass(frozen=True)
class Pace:
    """A word's steps are `factor` times as long as they would be; from step `until` on it is not changed (None: never).

    One whose `until` is 0 stays as it begins: it is frozen.
    """

    factor: float = 1.0
    until: int | None = None

    def at(self, step: int) -> float:
        """The factor of the update that leads on from `step`; 0 where the word is not changed."""
        return 0.0 if self.until is not None and step >= self.until else self.factor


USUAL = Pace()


@dataclass(frozen=True)
class Moves:
    """What a step does to the words: `factors` of their updates, 0 for those that it leaves alone.

    Of these, the `fixed` ones are not trained at this step of the run; the others are in none of its prompts.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()

    def of(self, word: str) -> float:
        """The factor of a word; 1 where nothing is said of it."""
        return self.factors.get(word, 1.0)

    @property
    def nothing(self) -> bool:
        """Whether no word is changed, so that a gradient of 0 is what is meant."""
        return bool(self.factors) and not any(self.factors.values())


ALL = Moves()
"""All words are moved as far as the optimizer says."""


def moves(paces: Mapping[str, Pace], words: Collection[str], step: int, prompts: Iterable[Prompt]) -> Moves:
    """What the step after `step` does to the `words` of a run, seeing these prompts.

    A word that is in none of them is left alone, as PyTorch's SparseAdam has it: it learns from its own images as it
    would in a run of its own, whatever the others are.
    """
    if len(words) < 2 and not paces:
        return ALL
    there = {name for prompt in prompts for chunk in prompt.chunks for _, name in chunk.words}
    by_pace = {word: paces.get(word, USUAL).at(step) for word in words}
    factors = {word: factor if word in there else 0.0 for word, factor in by_pace.items()}
    return Moves(factors, fixed_at(step, paces))


def fixed_at(step: int, paces: Mapping[str, Pace]) -> frozenset[str]:
    """The words that the update after `step` does not change, whatever it sees."""
    return frozenset(word for word, pace in paces.items() if not pace.at(step))


def last_step(paces: Mapping[str, Pace], steps: int) -> int:
    """The step up to which some word is trained, at most `steps`."""
    return max((steps if pace.until is None else min(steps, pace.until) for pace in paces.values()), default=steps)
