"""Which examples a run trains on and which it is evaluated on."""

from __future__ import annotations

import torch


def split_examples(count: int, held_out: int, measured: int, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of `count` examples to train on and to evaluate on, in an order that `seed` decides.

    `held_out` are evaluated and not trained on; where that is 0, or would leave none, `measured` of those that are
    trained on are evaluated.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = held_out if held_out < count else 0
    return order[held_out:], order[: held_out or measured]
