"""Muon: momentum made orthogonal, for matrices and convolution kernels (Jordan et al. 2024).

Vectors, tables and the first and last layers belong to AdamW; `optimizers` splits a module's weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """The nearest half-orthogonal matrix, about: Newton-Schulz with the quintic of Jordan et al.

    The rounds run on the small Gram matrix alone, which all their factors commute with; one product with the
    matrix itself ends them.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    gram, one = x @ x.T, torch.eye(len(x))
    factor = one
    for _ in range(rounds):
        turn = a * one + b * gram + c * (gram @ gram)
        factor = turn @ factor
        gram = turn @ gram @ turn
    x = factor @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal; a step has the root mean square of about 0.2 × rate, as AdamW's has."""

    def __init__(self, params: list[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step on every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self.move(weight, group)

    def move(self, weight: Tensor, group: dict[str, float]) -> None:
        """One step on one weight (out, in, …)."""
        state = self.state[weight]
        if not state:
            state["mean"] = torch.zeros_like(weight)
        mean = state["mean"]
        mean.lerp_(weight.grad, 1 - group["momentum"])
        ahead = weight.grad.lerp(mean, group["momentum"])
        flat = ahead.reshape(len(ahead), -1)
        change = orthogonal(flat) * 0.2 * max(flat.shape) ** 0.5
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(change.view_as(weight), alpha=-group["lr"])


def optimizers(module: nn.Module, rate: float, plain: tuple[str, ...]) -> list[torch.optim.Optimizer]:
    """[Muon for matrices and kernels, AdamW for the rest and for names that contain one of `plain`]."""
    named = [(name, weight) for name, weight in module.named_parameters() if weight.requires_grad]
    matrices = [w for name, w in named if w.ndim >= 2 and not any(part in name for part in plain)]
    chosen = {id(weight) for weight in matrices}
    rest = [weight for _, weight in named if id(weight) not in chosen]
    return [Muon(matrices, rate), torch.optim.AdamW(rest, rate, betas=(0.9, 0.98), weight_decay=0.0)]
