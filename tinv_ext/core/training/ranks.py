"""A step that is shared out to several processes, called ranks: each computes some of its examples, all the update.

Every rank draws the whole step from the same generator and computes its share; the gradients in the vectors, some
kilobytes, are summed over all ranks. So the vectors are those of one process with as many batches a step, but for
rounding. What carries the numbers from one process to another is in a room above (`run/torch_ranks.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from .optimizers import TakesSamples
from .state import State


class Ranks(Protocol):
    """The processes of a run, as one of them sees them. Rank 0 leads: it decides, and it alone writes anything."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def share(self, examples: int) -> range:
        """Which of the examples of a step are this rank's, by their places."""
        ...

    def together(self, state: State, given_up: Mapping[str, int]) -> AbstractContextManager[None]:
        """One try of a step on all ranks, with the fallbacks that are `given_up` (`Fallbacks.facts`).

        It ends in the same way on every rank: where it raises on one, it raises on all, MemoryError where memory ran
        out elsewhere.
        """
        ...

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Sums over all ranks of float32 tensors on the CPU. Raises on all ranks where one of them has failed."""
        ...

    def also(self, task: str, act: Callable[[], None], basis: Any = None) -> None:
        """Have all others do the task of this name while `act` is done here, and wait for them: where there are some.

        `basis` is what they must have, too, for the task to be the same. Raises on all ranks where one has failed.
        """
        ...


class Alone:
    """A run of one process."""

    count = 1

    def share(self, examples: int) -> range:
        return range(examples)

    def together(self, state: State, given_up: Mapping[str, int]) -> AbstractContextManager[None]:
        return nullcontext()

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return list(tensors)

    def also(self, task: str, act: Callable[[], None], basis: Any = None) -> None:
        return None


ALONE: Ranks = Alone()


@dataclass
class SampleGradients:
    """Takes the gradients of this rank's examples in the place of an optimizer that wants those of all."""

    optimizer: TakesSamples
    gradients: list[Sequence[Tensor]] = field(default_factory=list)
    probes: list[Sequence[Tensor]] = field(default_factory=list)

    def add(self, gradients: Sequence[Tensor], probes: Sequence[Tensor] | None = None) -> None:
        """Gradients (B, n, d) of B examples in each parameter; of `probes`, where it is `probing`."""
        self.gradients.append(gradients)
        if probes is not None:
            self.probes.append(probes)

    def probing(self) -> bool:
        """Whether the optimizer wants probes."""
        return self.optimizer.probing()

    def leave_out(self, places: Sequence[int]) -> None:
        """For the optimizer."""
        self.optimizer.leave_out(places)

    def pulls(self, moved: Sequence[Tensor]) -> Tensor:
        """From the optimizer."""
        return self.optimizer.pulls(moved)

    def weigh(self, weights: Tensor) -> None:
        """For the optimizer."""
        self.optimizer.weigh(weights)


def taker_of(state: State, ranks: Ranks) -> TakesSamples | None:
    """What takes the gradients of single examples; None where the optimizer wants none."""
    if not isinstance(state.optimizer, TakesSamples):
        return None
    return state.optimizer if ranks.count == 1 else SampleGradients(state.optimizer)


def gather(
    ranks: Ranks,
    state: State,
    losses: Sequence[Tensor],
    places: Sequence[int],
    order: Sequence[int],
    taker: TakesSamples | None,
) -> tuple[list[Tensor], list[int]]:
    """Put together what all ranks have computed of a step: its gradient, and the losses of all examples.

    `losses` (B,) of this rank's passes belong to `places` of the step; returned are those of all, with their places.
    `order` has all places as one process would have computed them; gradients of single examples arrive in it.
    """
    if ranks.count == 1:
        return list(losses), list(places)
    # each rank has zeros in the places of the others, so that the sum puts every value where it belongs
    leaves, device, count = state.leaves(), state.leaves()[0].device, len(order)
    parts = [*state.gradients(), _in_place(losses, places, count, ())]
    if isinstance(taker, SampleGradients):
        for rows in (taker.gradients, *([taker.probes] if taker.probing() else [])):
            by_leaf = list(zip(*rows)) or [()] * len(leaves)
            parts += [_in_place(own, places, count, leaf.shape) for own, leaf in zip(by_leaf, leaves)]
    summed = [part.to(device) for part in ranks.sum([part.cpu() for part in parts])]
    for leaf, gradient in zip(leaves, summed):
        leaf.grad = gradient
    if isinstance(taker, SampleGradients):
        of_examples = [part[list(order)] for part in summed[len(leaves) + 1 :]]
        taker.optimizer.add(of_examples[: len(leaves)], of_examples[len(leaves) :] or None)
    return [summed[len(leaves)]], list(range(count))


def _in_place(own: Sequence[Tensor], places: Sequence[int], count: int, shape: Sequence[int]) -> Tensor:
    """Rows of this rank's examples (B, *shape) at their places among `count`, zeros elsewhere."""
    rows = torch.zeros(count, *shape)
    if own:
        rows[list(places)] = torch.cat(list(own)).detach().float().cpu()
    return rows
