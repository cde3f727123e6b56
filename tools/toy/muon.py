"""Muon: momentum made orthogonal, for matrices and convolution kernels (Jordan et al. 2024).

Vectors, tables and the first and last layers belong to AdamW; `optimizers` splits a module's weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def orthogonal(matrices: list[Tensor], rounds: int = 5) -> list[Tensor]:
    """The nearest half-orthogonal matrix to each, about: Newton-Schulz with the quintic of Jordan et al.

    The rounds run on the small Gram matrices alone, which all their factors commute with, and on all those of one
    size at once; one product with the matrix itself ends them.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = [m.T if m.shape[0] > m.shape[1] else m for m in matrices]
    wide = [m / (m.norm() + 1e-7) for m in wide]
    factors = list(wide)
    for size in {len(m) for m in wide}:
        places = [place for place, m in enumerate(wide) if len(m) == size]
        gram = torch.stack([wide[place] @ wide[place].T for place in places])
        one = torch.eye(size).expand_as(gram)
        factor = one
        for _ in range(rounds):
            polynomial = torch.baddbmm(a * one + b * gram, gram, gram, alpha=c)
            factor = polynomial @ factor
            gram = polynomial @ gram @ polynomial
        for place, of_it in zip(places, factor, strict=True):
            factors[place] = of_it
    flat = [factor @ m for factor, m in zip(factors, wide, strict=True)]
    return [m.T if was.shape[0] > was.shape[1] else m for m, was in zip(flat, matrices, strict=True)]


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal; a step has the root mean square of about 0.2 × rate, as AdamW's has."""

    def __init__(self, params: list[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step on every weight that has a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            changes = orthogonal([self.ahead(weight, group["momentum"]) for weight in weights])
            for weight, change in zip(weights, changes, strict=True):
                weight.add_(change.reshape(weight.shape), alpha=-group["lr"] * 0.2 * max(change.shape) ** 0.5)

    def ahead(self, weight: Tensor, momentum: float) -> Tensor:
        """The gradient mixed with its running mean, as a matrix (out, rest)."""
        state = self.state[weight]
        if not state:
            state["mean"] = torch.zeros_like(weight)
        state["mean"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(state["mean"], momentum).reshape(len(weight), -1)


def optimizers(module: nn.Module, rate: float, plain: tuple[str, ...]) -> list[torch.optim.Optimizer]:
    """[Muon for matrices and kernels, AdamW for the rest and for names that contain one of `plain`]."""
    named = [(name, weight) for name, weight in module.named_parameters() if weight.requires_grad]
    matrices = [w for name, w in named if w.ndim >= 2 and not any(part in name for part in plain)]
    chosen = {id(weight) for weight in matrices}
    rest = [weight for _, weight in named if id(weight) not in chosen]
    return [Muon(matrices, rate), torch.optim.AdamW(rest, rate, betas=(0.9, 0.98), weight_decay=0.0)]
