"""Gradients from backward to the optimizer: computed, unscaled, measured and, if asked, clipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tinv_ext.core.model import Denoiser

from .forward import StepInputs, compute
from .objective import Objective
from .optimizers import TakesSamples
from .outliers import Named
from .sample_gradients import add_sample_gradients
from .state import State


@dataclass(frozen=True)
class Clip:
    """Limit each component ("value") or the length over all vectors ("norm"), by a bound that is a function of the
    step."""

    mode: str
    bound: Callable[[int], float]


def add_gradients(
    model: Denoiser, inputs: StepInputs, state: State, objective: Objective, count: int, taker: TakesSamples | None
) -> Tensor:
    """Backward of one forward pass, one of those in which a step sees `count` examples: its part of the mean gradient,
    times the model's loss scale, is added to that of the vectors. Returns the loss of each example (B,).

    `taker` takes the gradients of single examples, where the optimizer wants them."""
    if taker is not None:
        return add_sample_gradients(model, inputs, state.vectors, objective, 1 / count, taker)
    losses = compute(model, inputs, state.vectors, objective)
    (losses.sum() / count * model.loss_scale).backward()  # type: ignore[no-untyped-call]
    return losses.detach()


def pulls_of(state: State) -> Tensor:
    """Which way the examples of a step pull, before its update (`outliers.py`): the cosine of each, in the order of its
    passes. None (0,) where the optimizer does not take the gradients of single examples."""
    if isinstance(state.optimizer, TakesSamples):
        return state.optimizer.pulls([vectors.detach() - start for vectors, start in state.pairs()])
    return state.leaves()[0].new_zeros(0)


def weigh_odd(state: State, images: Sequence[Named]) -> None:
    """Before an update: examples of images that pull back count less (`outliers.py`); `images` are those of a step's
    examples, in the order of its passes."""
    weights = state.outliers.weights(images)
    if weights and isinstance(state.optimizer, TakesSamples):
        state.optimizer.weigh(state.leaves()[0].new_tensor([weights.get(image, 1.0) for image in images]))


def sample_probe(state: State, latents: Tensor) -> Tensor | None:
    """Standard normal numbers like `latents`, where the optimizer measures the curvature in the next step."""
    if isinstance(state.optimizer, TakesSamples) and state.optimizer.probing():
        return torch.randn(latents.shape, generator=state.rng)
    return None


def mean_loss(state: State, losses: Sequence[Tensor], count: int) -> Tensor:
    """The mean () of `count` losses in several parts; where the optimizer leaves examples out, of the others."""
    if isinstance(state.optimizer, TakesSamples):
        return torch.cat(list(losses)).nanmean()
    return torch.stack([part.sum() / count for part in losses]).sum()


def clip_gradients(state: State, scale: float, clip: Clip | None) -> Tensor:
    """Divide the gradients by `scale` in place, clip them, and return their length from before the clipping, ().

    Nothing is clipped for an optimizer that takes the gradients of examples instead.
    """
    gradients = state.gradients()
    for gradient in gradients:
        gradient.div_(scale)
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    if clip is None or isinstance(state.optimizer, TakesSamples):
        return norm
    bound = clip.bound(state.step)
    for gradient in gradients:
        if clip.mode == "value":
            gradient.clamp_(-bound, bound)
        else:
            gradient.mul_(torch.clamp(bound / (norm + 1e-12), max=1.0))
    return norm
