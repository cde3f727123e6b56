"""What is done to the vectors after each optimizer step.

A constraint is added as one function, one row of `CONSTRAINTS`, and a setting of the row's name in `core/settings`: its
number is given to the function, and 0 turns the constraint off. Lengths are those of `typical_length.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

# (vectors (n, width), where they began (n, width), a token's typical length there): changes the vectors in place
Constraint = Callable[[Tensor, Tensor, float], None]


def unconstrained(vectors: Tensor, start: Tensor, length: float) -> None:
    """The vectors stay as the optimizer left them."""


@torch.no_grad()
def fixed_norm(vectors: Tensor, start: Tensor, length: float) -> None:
    """Each vector as long as it was in the beginning; only its direction is learnt. One that began at zero is free.

    As OneTrainer's `preserve_embedding_norm`.
    """
    norms = torch.linalg.vector_norm(start, dim=1, keepdim=True)
    scale = norms / torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp(min=1e-12)
    vectors.mul_(torch.where(norms > 0, scale, torch.ones_like(scale)))


def pulled_to_start(share: float) -> Constraint:
    """Each step also goes this share of the way back to the start: a prior that the word means what it began with."""

    @torch.no_grad()
    def pull(vectors: Tensor, start: Tensor, length: float) -> None:
        vectors.lerp_(start, share)

    return pull


def at_most(lengths: float) -> Constraint:
    """No vector grows longer than so many typical lengths, or than it began: longer ones drown other words."""

    @torch.no_grad()
    def shorten(vectors: Tensor, start: Tensor, length: float) -> None:
        longest = torch.linalg.vector_norm(start, dim=1, keepdim=True).clamp(min=lengths * length)
        norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        vectors.mul_((longest / norms.clamp(min=1e-12)).clamp(max=1.0))

    return shorten


def in_turn(constraints: Sequence[Constraint]) -> Constraint:
    """One constraint after the other."""

    def apply(vectors: Tensor, start: Tensor, length: float) -> None:
        for constraint in constraints:
            constraint(vectors, start, length)

    return apply


CONSTRAINTS: Mapping[str, Callable[[float], Constraint]] = {
    "pull_to_init": pulled_to_start,
    "preserve_embedding_norm": lambda on: fixed_norm,
    "max_vector_norm": at_most,
}
"""In the order in which they are applied."""
