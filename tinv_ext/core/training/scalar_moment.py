"""Gradient descent with one scalar second moment: a step as long as the rate says, in the gradient's direction.

Adam divides each number by its own second moment and so turns the step away from the gradient. Here the vectors of a
word share one, so only the length is normalised. What state there is, is one number for each word and encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from .typical_length import lengths_of


class ScalarMoment(torch.optim.Optimizer):
    """s ← β·s + (1-β)·|g|²; x ← x - rate·scale·L·g / √(s / (1-β^k)), with L the typical length of a token's vector.

    `lengths` has L for each parameter, its own vectors' mean length where there are none. `scale` makes the rate that
    of a whole word: one that is learnt is about 1.7 times as long as a token's.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.2,
        beta: float = 0.9,
        scale: float = 1.7,
        lengths: Sequence[float] = (),
    ) -> None:
        if not 0 <= beta < 1:
            raise ValueError(f"beta must be at least 0 and below 1, not {beta}")
        if scale <= 0:
            raise ValueError(f"scale must be above 0, not {scale}")
        super().__init__(params, {"lr": lr, "beta": beta, "scale": scale, "lengths": list(lengths)})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take one step. `closure` is never called: the gradients are at hand."""
        for group in self.param_groups:
            for parameter, length in zip(group["params"], lengths_of(group)):
                if parameter.grad is not None:
                    self._move(parameter, length, group)

    def _move(self, vectors: Tensor, length: float, group: dict[str, Any]) -> None:
        beta, state = group["beta"], self.state[vectors]
        if not state:
            state.update(step=0, second_moment=torch.zeros((), dtype=vectors.dtype, device=vectors.device))
        state["step"] += 1
        state["second_moment"].mul_(beta).add_(vectors.grad.square().sum(), alpha=1 - beta)  # type: ignore[union-attr]
        root = (state["second_moment"] / (1 - beta ** state["step"])).sqrt().clamp(min=torch.finfo(vectors.dtype).tiny)
        reach = group["lr"] * group["scale"] * length * len(vectors) ** 0.5  # of n vectors at once
        vectors.sub_(reach * vectors.grad / root)
