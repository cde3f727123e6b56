"""The order of examples: every one once before any comes again, whatever their shapes, at the cost of a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from tests.core.fake import SUBSET, dataset, examples, initial
from tinv_ext.core.data.order import Order


def walked(size: int, shapes: Sequence[str], rng: torch.Generator, order: list[int]) -> list[int]:
    """The law, as it was first written: walk the whole order for the next of one shape (`order` is changed)."""
    alike: list[int] = []
    while len(alike) < size:
        if alike or not order:
            order += torch.randperm(len(shapes), generator=rng).tolist()
        alike = [place for place, index in enumerate(order) if shapes[index] == shapes[order[0]]][:size]
    chosen = [order[place] for place in alike]
    order[:] = [index for place, index in enumerate(order) if place not in set(alike)]
    return chosen


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("shapes", ["a", "aaaaa", "aabab", "abcdefg", "aaaaaaab", "abcabcabcaab"])
def test_queues_give_the_order_of_the_walk(size: int, shapes: str) -> None:
    """Draw for draw, and what remains; also taken up from what remains."""
    rng, other = (torch.Generator().manual_seed(3) for _ in range(2))
    order, law = Order(), list[int]()
    for visit in range(60):
        assert order.next(size, shapes, rng) == walked(size, shapes, other, law)
        assert order.numbers() == law
        if visit % 7 == 0:
            order = Order(order.numbers())
        assert torch.equal(rng.get_state(), other.get_state())


def test_a_backup_is_restored_over_any_number_of_draws() -> None:
    """Also one within another, as a trial step within a run has it."""
    shapes, rng = "aabbbcaab", torch.Generator().manual_seed(1)
    order = Order()
    order.next(2, shapes, rng)
    outer, before = order.backup(), order.numbers()
    for _ in range(5):
        order.next(3, shapes, rng)
        inner, here = order.backup(), order.numbers()
        for _ in range(20):
            order.next(3, shapes, rng)
        order.restore(inner)
        assert order.numbers() == here
    order.restore(outer)
    assert order.numbers() == before


def test_a_batch_costs_its_size_and_not_that_of_the_dataset() -> None:
    """100 000 examples of 50 shapes: a hundred batches look at some hundred entries, not at ten million."""

    class Counted(list[str]):
        looked = 0

        def __getitem__(self, place: object) -> str:  # type: ignore[override]
            type(self).looked += 1
            return str(super().__getitem__(place))  # type: ignore[index]

    shapes, rng = Counted(f"shape {number % 50}" for number in range(100_000)), torch.Generator().manual_seed(1)
    order = Order()
    order.next(4, shapes, rng)
    assert Counted.looked == 100_000  # one pass, sorted into its queues
    for _ in range(100):
        order.restore(order.backup())
        assert len(set(order.next(4, shapes, rng))) == 4
    assert Counted.looked == 100_000


def test_repeats_and_weights_are_those_of_the_subset() -> None:
    """An image of a subset with three repeats comes three times in a pass; its loss counts by the subset's weight."""
    often = replace(SUBSET, lines=("[name] often",), repeats=3, weight=0.5)
    first, second = examples(2)
    data = dataset([first, second])
    mixed = replace(data, examples=[first, replace(second, subset=often)])
    state, seen = initial(), Counter[str]()
    for _ in range(8):
        batch = mixed.batch(1, state.order, state.rng)
        (prompt,) = batch.prompts
        seen[prompt.text] += 1
        weight = None if batch.example_weights is None else batch.example_weights.tolist()
        assert weight == ([0.5] if prompt.text == "it often" else None)
    assert seen["it often"] == 6
