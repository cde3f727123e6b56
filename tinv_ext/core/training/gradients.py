"""Gradients between backward and the optimizer: unscaled, measured and, if asked, clipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """Limit each component ("value") or the length over all vectors ("norm"), by a bound that is a function of the
    step."""

    mode: str
    bound: Callable[[int], float]


def clip_gradients(gradients: Sequence[Tensor], scale: float, clip: Clip | None, step: int) -> Tensor:
    """Divide the gradients by `scale` in place, clip them, and return their length from before the clipping, ()."""
    for gradient in gradients:
        gradient.div_(scale)
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    if clip is None:
        return norm
    bound = clip.bound(step)
    for gradient in gradients:
        if clip.mode == "value":
            gradient.clamp_(-bound, bound)
        else:
            gradient.mul_(torch.clamp(bound / (norm + 1e-12), max=1.0))
    return norm
