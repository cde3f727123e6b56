"""The order in which examples are drawn: every one once before any comes again, batches of one shape."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

NO_OTHER: Mapping[Hashable, int] = {}
_Places = list[tuple[int, int]]  # (place in the whole order, number of the example), by place


@dataclass
class Order:
    """What is still to be drawn, as queues by shape, so that a batch costs its own size and not that of the dataset.

    `remaining` are numbers of examples; a permutation of all is appended whenever more are needed. The queues are
    lists that are never changed, with the place that each has been read up to: a backup is a copy of a few references.
    """

    remaining: Iterable[int] = ()
    _queues: dict[Hashable, tuple[_Places, int]] = field(default_factory=dict)
    _length: int = 0  # places given out so far

    def next(
        self,
        size: int,
        shapes: Sequence[Hashable],
        rng: torch.Generator,
        sizes: Mapping[Hashable, int] = NO_OTHER,
    ) -> list[int]:
        """The next example and, with it, the `size` - 1 next of its shape. `shapes` has the shape of every example.

        A shape that is among the `sizes` is drawn in as many.
        """
        self._arrange(shapes)
        if not self._queues:
            self._extend(shapes, rng)
        shape = min(self._queues, key=self._first_place)
        size = sizes.get(shape, size)
        while len(self._queues[shape][0]) - self._queues[shape][1] < size:
            self._extend(shapes, rng)
        queue, read = self._queues[shape]
        if len(queue) == read + size:
            del self._queues[shape]
        else:
            self._queues[shape] = (queue, read + size)
        return [number for _, number in queue[read : read + size]]

    def backup(self) -> Order:
        """As it is now; either can go on without touching the other."""
        return Order(self.remaining, dict(self._queues), self._length)

    def restore(self, backup: Order) -> None:
        """Be as when `backup` was made."""
        self.remaining, self._queues, self._length = backup.remaining, dict(backup._queues), backup._length

    def numbers(self) -> list[int]:
        """All that is still to be drawn, in order: from it the same order goes on."""
        places = [pair for queue, read in self._queues.values() for pair in queue[read:]]
        return [*self.remaining, *(number for _, number in sorted(places))]

    def _first_place(self, shape: Hashable) -> int:
        queue, read = self._queues[shape]
        return queue[read][0]

    def _arrange(self, shapes: Sequence[Hashable]) -> None:
        """Sort what was only a list of numbers, as it comes from a file, into the queues."""
        if self.remaining:
            numbers, self.remaining = list(self.remaining), ()
            self._append(numbers, shapes)

    def _extend(self, shapes: Sequence[Hashable], rng: torch.Generator) -> None:
        self._append(torch.randperm(len(shapes), generator=rng).tolist(), shapes)

    def _append(self, numbers: Sequence[int], shapes: Sequence[Hashable]) -> None:
        added: dict[Hashable, _Places] = {}
        for place, number in enumerate(numbers, self._length):
            added.setdefault(shapes[number], []).append((place, number))
        for shape, places in added.items():
            queue, read = self._queues.get(shape, ([], 0))
            self._queues[shape] = ([*queue[read:], *places], 0)
        self._length += len(numbers)
