"""The online natural gradient: steps divided by the curvature that the gradients of single examples show.

The loss of an example is taken as its negative log likelihood, ½·Σ residual². Its Hessian in the vectors is then about
the Fisher matrix F (Amari 1998, "Natural gradient works efficiently in learning"). The sum of g·gᵀ over examples has
the shape of F and comes free with the backward pass (the empirical Fisher; Kunstner et al. 2019, arXiv 1905.12558), but
not its size, as residuals are correlated from pixel to pixel: a factor c, measured with random probes of the residual
(Hutchinson 1989: E|Jᵀu|² = trace F), mends that. Of all D numbers of a word, few directions matter, so the matrix is
known after some dozens of examples; where nothing is known of a direction, it is that of a prior.

Everything is done in units of the prior, in which the prior's matrix is the identity:

    P ← ρ·P + (1-ρ)·I + c·Σ g·gᵀ,  P₀ = I        δ = P⁻¹·Σ g, no longer than the radius        x ← x - rate·δ
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from .typical_length import lengths_of

FORMS = ("auto", "dense", "low_rank")
_PROBED = (1, 2, 4, 8, 16, 32)  # steps at which c is measured: the residuals change most in the beginning
_SHARE = 0.4  # of the trace that probes find; flat between 0.1 and 1
_UNMEASURED = 0.02  # c before a probe came out finite


class NaturalGradient(torch.optim.Optimizer):
    """`add` takes the gradients of examples; `step` moves all parameters together by what was added since the last.

    `prior`: how far a vector may be expected to move, in lengths of a token's; each of its d numbers by prior·L/√d.
    `radius`: how far one step may move it, likewise. `memory`: the weight of an example's gradient falls by this factor
    with each example after it. `scale`: c; 0 measures it. `form`: "dense" keeps P (D, D), "low_rank" the last `rank`
    gradients, which is the same matrix until these are used up; "auto" takes the smaller. `lengths`: L by parameter.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1.0,
        prior: float = 2.0,
        radius: float = 0.75,
        memory: float = 0.975,
        scale: float = 0.0,
        form: str = "auto",
        rank: int = 128,
        lengths: Sequence[float] = (),
    ) -> None:
        if not (prior > 0 and radius > 0 and 0 < memory < 1 and scale >= 0 and rank >= 1 and form in FORMS):
            raise ValueError(
                "prior and radius must be above 0, memory between 0 and 1, scale 0 or more, rank 1 or more, and form "
                f"one of {', '.join(FORMS)}"
            )
        defaults = {"lr": lr, "prior": prior, "radius": radius, "memory": memory, "scale": scale, "form": form}
        super().__init__(params, {**defaults, "rank": rank, "lengths": list(lengths)})
        if len(self.param_groups) > 1:
            raise ValueError("all parameters must be in one group, as they are moved together")
        self._gradients: list[Tensor] = []
        self._probes: list[Tensor] = []

    def probing(self) -> bool:
        """Whether the next step measures c, so that `add` should be given probes too."""
        return not self.param_groups[0]["scale"] and self._remembered["step"] + 1 in _PROBED

    def add(self, gradients: Sequence[Tensor], probes: Sequence[Tensor] | None = None) -> None:
        """Gradients (B, n, d) of B examples in each parameter; of `probes`, those of ⟨residual, u⟩ with random u."""
        self._gradients.append(self._joined(gradients))
        if probes is not None:
            self._probes.append(self._joined(probes))

    def _joined(self, gradients: Sequence[Tensor]) -> Tensor:
        """As rows (B, D), in units of the prior."""
        return torch.cat([part.flatten(1) * unit for part, unit in zip(gradients, self._units)], 1)

    @property
    def _units(self) -> list[float]:
        group = self.param_groups[0]
        pairs = zip(group["params"], lengths_of(group))
        return [group["prior"] * length / vectors.shape[-1] ** 0.5 for vectors, length in pairs]

    @property
    def _remembered(self) -> dict[str, Any]:
        """What is remembered of all parameters together: kept with the first."""
        first = self.param_groups[0]["params"][0]
        remembered: dict[str, Any] = self.state[first]
        if not remembered:
            zero = torch.zeros((), dtype=first.dtype, device=first.device)
            remembered.update(step=0, true_trace=zero, sample_trace=zero.clone(), scale=zero + _UNMEASURED)
        return remembered

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all that was added."""
        super().zero_grad(set_to_none)
        self._gradients, self._probes = [], []

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take one step. `closure` is never called: the gradients are at hand."""
        group, remembered = self.param_groups[0], self._remembered
        if not self._gradients:
            return
        gradients = torch.cat(self._gradients)
        remembered["step"] += 1
        if self._probes:
            self._measure_scale(gradients, torch.cat(self._probes))
        scale = group["scale"] or remembered["scale"]
        move = self._remember(gradients * scale**0.5, gradients.sum(0))
        largest = group["radius"] / group["prior"] * gradients.shape[1] ** 0.5
        move = move * (largest / move.norm().clamp(min=largest)) * group["lr"]
        sizes = [vectors.numel() for vectors in group["params"]]
        for vectors, part, unit in zip(group["params"], move.split(sizes), self._units):
            vectors.sub_(part.view_as(vectors) * unit)
        self._gradients, self._probes = [], []

    def _measure_scale(self, gradients: Tensor, probes: Tensor) -> None:
        remembered = self._remembered
        true_trace = remembered["true_trace"] / 2 + probes.square().sum()
        sample_trace = remembered["sample_trace"] / 2 + gradients.square().sum()
        scale = _SHARE * true_trace / sample_trace
        good = torch.isfinite(scale) & (scale > 0)  # else nothing of it is kept, or it would spoil what comes later
        for name, measured in (("true_trace", true_trace), ("sample_trace", sample_trace), ("scale", scale)):
            remembered[name] = torch.where(good, measured, remembered[name])

    def _remember(self, rows: Tensor, total: Tensor) -> Tensor:
        """Take `rows` (N, D) into P, and give P⁻¹·total (D,)."""
        group, remembered = self.param_groups[0], self._remembered
        kept = group["memory"] ** len(rows)
        if group["form"] == "dense" or (group["form"] == "auto" and rows.shape[1] <= group["rank"]):
            identity = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
            matrix = remembered.get("matrix", identity)
            matrix = remembered["matrix"] = kept * matrix + (1 - kept) * identity + rows.T @ rows
            return _solved(matrix, total)
        history = torch.cat([remembered.get("history", rows[:0]) * kept**0.5, rows])[-max(group["rank"], len(rows)) :]
        remembered["history"] = history
        small = torch.eye(len(history), dtype=rows.dtype, device=rows.device) + history @ history.T
        return total - history.T @ _solved(small, history @ total)  # Woodbury's identity


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """matrix⁻¹·right of a symmetric positive matrix: by the CPU in double precision, which every device's owner has."""
    factor = torch.linalg.cholesky(matrix.cpu().double())
    return torch.cholesky_solve(right.cpu().double().unsqueeze(1), factor).squeeze(1).to(right)
