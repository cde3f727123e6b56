"""The online natural gradient: steps divided by the curvature that the gradients of single examples show.

The loss of an example is taken as its negative log likelihood, ½·Σ residual². Its Hessian in the vectors is then about
the Fisher matrix F (Amari 1998, "Natural gradient works efficiently in learning"). The sum of g·gᵀ over examples has
the shape of F and comes free with the backward pass (the empirical Fisher; Kunstner et al. 2019, arXiv 1905.12558), but
not its size, as residuals are correlated from pixel to pixel: a factor c mends that, by the ratio |Jᵀu|²/|g|² of an
example, with a random probe u of its residual (Hutchinson 1989: E|Jᵀu|² = trace F). Of all D numbers of a word, few
directions matter, so the matrix is known after some dozens of examples; where nothing is known of a direction, it is
that of a prior.

Everything is done in units of the prior, in which the prior's matrix is the identity:

    P ← ρ·P + (1-ρ)·I + c·Σ g·gᵀ,  P₀ = I        δ = P⁻¹·Σ g, no longer than the radius        x ← x - rate·δ

Several words are solved for together, as they explain the same residuals where a prompt has both. But each has its own
c, ρ and radius, and what it has in common with a word that stands in other prompts is 0: it then learns as it would
alone, however many examples of others come between its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from .outliers import cosines
from .typical_length import lengths_of

FORMS = ("auto", "dense", "low_rank")
_PROBED = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # steps at which c is measured: residuals change most at first
_SHARE = 0.1  # of the mean ratio: the average over steps (`ema_decay`) takes away what is noisy in so long ones
_BEGINNING = 0.4  # divided by the examples so far it is the share while that is more: so few would be followed too far
_FURTHEST = 0.5  # of the way to what the examples of one step say; the share is more where a step has many
_UNMEASURED = 0.02  # c before a probe came out finite


class NaturalGradient(torch.optim.Optimizer):
    """`add` takes the gradients of examples; `step` moves all parameters together by what was added since the last.

    `prior`: how far a vector may be expected to move, in lengths of a token's; each of its d numbers by prior·L/√d.
    `radius`: how far one step may move it, likewise. `memory`: the weight of an example's gradient falls by this factor
    with each example after it. `scale`: c; 0 measures it. `form`: "dense" keeps P (D, D), "low_rank" the last `rank`
    gradients, which is the same matrix until these are used up; "auto" takes the smaller. `lengths`: L by parameter.
    `words`: how many parameters each word has, in their order; of none, all are of one word.
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
        words: Sequence[int] = (),
    ) -> None:
        if not (prior > 0 and radius > 0 and 0 < memory < 1 and scale >= 0 and rank >= 1 and form in FORMS):
            raise ValueError(
                "prior and radius must be above 0, memory between 0 and 1, scale 0 or more, rank 1 or more, and form "
                f"one of {', '.join(FORMS)}"
            )
        defaults = {"lr": lr, "prior": prior, "radius": radius, "memory": memory, "scale": scale, "form": form}
        several = {"words": list(words)} if len(words) > 1 else {}
        super().__init__(params, {**defaults, "rank": rank, "lengths": list(lengths), **several})
        if len(self.param_groups) > 1:
            raise ValueError("all parameters must be in one group, as they are moved together")
        self._gradients: list[Tensor] = []
        self._probes: list[Tensor] = []

    def probing(self) -> bool:
        """Whether the next step measures c, so that `add` should be given probes too."""
        steps = [self._remembered(word)["step"] for word in range(len(self._words))]
        return not self.param_groups[0]["scale"] and any(step + 1 in _PROBED for step in steps)

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

    def leave_out(self, places: Sequence[int]) -> None:
        """The parameters at these places are not moved: what is known of them is forgotten."""
        params = self.param_groups[0]["params"]
        mask = torch.cat([torch.full_like(one.flatten(), float(n not in places)) for n, one in enumerate(params)])
        self._gradients = [rows * mask for rows in self._gradients]
        self._probes = [rows * mask for rows in self._probes]
        remembered = self._remembered(0)
        if "history" in remembered:
            remembered["history"] = remembered["history"] * mask
        if "matrix" in remembered:
            remembered["matrix"] = remembered["matrix"] * mask * mask.unsqueeze(1) + torch.diag(1 - mask)

    def pulls(self, moved: Sequence[Tensor]) -> Tensor:
        """Of each example since the last step the cosine (B,) between its gradient and how far the parameters have
        `moved`, in units of the prior. NaN where either is 0."""
        way = torch.cat([part.flatten() / unit for part, unit in zip(moved, self._units)])
        return cosines(torch.cat(self._gradients), way)

    def weigh(self, weights: Tensor) -> None:
        """The gradient of each example since the last step counts so much, by `weights` (B,) above 0."""
        self._gradients = [torch.cat(self._gradients) * weights.unsqueeze(1)]
        self._probes = [torch.cat(self._probes) * weights.unsqueeze(1)] if self._probes else []

    @property
    def _words(self) -> list[list[Tensor]]:
        """The parameters of each word."""
        group = self.param_groups[0]
        params = iter(group["params"])
        counts = group.get("words") or [len(group["params"])]
        return [[next(params) for _ in range(count)] for count in counts]

    def _remembered(self, word: int) -> dict[str, Any]:
        """What is remembered of a word: kept with its first parameter. With the first of all, P is."""
        first = self._words[word][0]
        remembered: dict[str, Any] = self.state[first]
        if not remembered:
            zero = torch.zeros((), dtype=first.dtype, device=first.device)
            remembered.update(step=0, seen=0, logs=zero, measured=zero.clone(), scale=zero + _UNMEASURED)
        return remembered

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all that was added."""
        super().zero_grad(set_to_none)
        self._gradients, self._probes = [], []

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take one step. `closure` is never called: the gradients are at hand."""
        group = self.param_groups[0]
        if not self._gradients:
            return
        gradients = torch.cat(self._gradients)
        sizes = [sum(one.numel() for one in word) for word in self._words]
        rows = torch.split(gradients, sizes, 1)
        counts = [len(part) if len(rows) == 1 else int((part != 0).any(1).sum()) for part in rows]
        probes = torch.split(torch.cat(self._probes), sizes, 1) if self._probes else None
        scales = [
            self._scale(word, counts[word], part, probes[word] if probes else None) for word, part in enumerate(rows)
        ]
        scaled = torch.cat([part * scale**0.5 for part, scale in zip(rows, scales)], 1)
        kept = [group["memory"] ** count for count in counts]
        moves = torch.split(self._remember(scaled, gradients.sum(0), kept, sizes), sizes)
        limited = torch.cat([self._limited(move) for move in moves])
        parts = torch.split(limited, [one.numel() for one in group["params"]])
        for vectors, part, unit in zip(group["params"], parts, self._units):
            vectors.sub_(part.view_as(vectors) * unit)
        self._gradients, self._probes = [], []

    def _limited(self, move: Tensor) -> Tensor:
        """A word's move (D,), no longer than the radius, times the rate."""
        group = self.param_groups[0]
        largest = group["radius"] / group["prior"] * len(move) ** 0.5
        limited: Tensor = move * (largest / move.norm().clamp(min=largest)) * group["lr"]
        return limited

    def _scale(self, word: int, count: int, gradients: Tensor, probes: Tensor | None) -> Tensor | float:
        """The factor c of a word, of which there are `count` examples among the `gradients`."""
        remembered, fixed = self._remembered(word), self.param_groups[0]["scale"]
        remembered["step"] += count > 0
        if fixed or "logs" not in remembered:  # the second in a run from before there were ratios, which keeps its c
            scale: Tensor | float = fixed or remembered["scale"]
            return scale
        remembered["seen"] += count
        if probes is not None and count and remembered["step"] in _PROBED:
            self._measure_scale(remembered, gradients, probes)
        forgotten = 1 - self.param_groups[0]["memory"] ** count  # in a step: P is about c·F·count/forgotten
        share = max(_SHARE, _BEGINNING / max(1, remembered["seen"]), forgotten / _FURTHEST)
        measured: Tensor = remembered["scale"] * (share / _SHARE)
        return measured

    def _measure_scale(self, remembered: dict[str, Any], gradients: Tensor, probes: Tensor) -> None:
        """Take in the ratios of examples. Their mean is of the logarithms: they differ by a factor of ten and more.

        The sums of both squares, divided, are those of the few largest: c was four times too large or small at times.
        """
        ratios = probes.square().sum(1).log() - gradients.square().sum(1).log()
        good = ratios.isfinite()  # not where a word is in no prompt of the example, or numbers are too large or small
        remembered["logs"] = remembered["logs"] + torch.where(good, ratios, 0.0).sum()
        remembered["measured"] = remembered["measured"] + good.sum()
        scale = _SHARE * (remembered["logs"] / remembered["measured"]).exp()
        remembered["scale"] = torch.where(remembered["measured"] > 0, scale, remembered["scale"])

    def _remember(self, rows: Tensor, total: Tensor, kept: Sequence[float], sizes: Sequence[int]) -> Tensor:
        """Take `rows` (N, D) into P, of which so much is `kept` for each word, and give P⁻¹·total (D,)."""
        group, remembered = self.param_groups[0], self._remembered(0)
        rank = group["rank"] * len(sizes)
        if group["form"] == "dense" or (group["form"] == "auto" and rows.shape[1] <= rank):
            identity = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
            matrix = remembered.get("matrix", identity)
            matrix = remembered["matrix"] = _faded(matrix, identity, kept, sizes) + rows.T @ rows
            return _solved(matrix, total)
        before = remembered.get("history", rows[:0]) * _columns([part**0.5 for part in kept], sizes, rows)
        history = torch.cat([before, rows])[-max(rank, len(rows)) :]
        remembered["history"] = history
        small = torch.eye(len(history), dtype=rows.dtype, device=rows.device) + history @ history.T
        return total - history.T @ _solved(small, history @ total)  # Woodbury's identity


def _columns(values: Sequence[float], sizes: Sequence[int], like: Tensor) -> Tensor | float:
    """A value for each word as a row over all columns (D,); of a single word, the value itself."""
    if len(values) == 1:
        return values[0]
    return torch.cat([torch.full((size,), value, dtype=like.dtype) for value, size in zip(values, sizes)]).to(like)


def _faded(matrix: Tensor, identity: Tensor, kept: Sequence[float], sizes: Sequence[int]) -> Tensor:
    """P nearer to the prior, each word by what is `kept` of it."""
    if len(kept) == 1:
        return kept[0] * matrix + (1 - kept[0]) * identity
    roots = _columns([part**0.5 for part in kept], sizes, matrix)
    assert isinstance(roots, Tensor)
    return roots.unsqueeze(1) * matrix * roots + (1 - roots.square()) * identity


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """matrix⁻¹·right of a symmetric positive matrix: by the CPU in double precision, which every device's owner has."""
    factor = torch.linalg.cholesky(matrix.cpu().double())
    return torch.cholesky_solve(right.cpu().double().unsqueeze(1), factor).squeeze(1).to(right)
