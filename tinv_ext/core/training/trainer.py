"""The training loop of textual inversion (Gal et al. 2022, arXiv 2208.01618).

Everything of the model is frozen; the vectors of one word are all that is optimised. What comes out is yielded, to stop
is to leave the loop, to go on is to call it again with the same state. It saves nothing, shows nothing, asks nobody.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import torch

from tinv_ext.core.data.dataset import Dataset, slices
from tinv_ext.core.errors import HostError, NumericError
from tinv_ext.core.model import Model
from tinv_ext.core.training.fallbacks import Fallbacks
from tinv_ext.core.training.gradients import Clip, clip_gradients
from tinv_ext.core.training.losses import denoising_losses, sample_noise
from tinv_ext.core.training.schedules import Schedule
from tinv_ext.core.training.state import State


@dataclass(frozen=True)
class Plan:
    """What a run will do: until which step, how many pictures a step, at which rate."""

    word: str
    steps: int
    batch_size: int
    accumulate: int
    rates: Schedule
    clip: Clip | None = None


@dataclass(frozen=True)
class Step:
    """One optimizer step that was taken: its number, the mean loss of its batches, rate and length of the gradient.

    Then the mean length of the vectors and how far they are from where they began.
    """

    number: int
    loss: float
    rate: float
    gradient_norm: float
    vector_norm: float
    distance: float
    prompts: tuple[str, ...]


def train(
    state: State, plan: Plan, model: Model, dataset: Dataset, fallbacks: Fallbacks | None = None
) -> Generator[Step, None, None]:
    """Run from `state.step` to `plan.steps`, yielding after each optimizer step.

    A step is all or nothing: where it fails, the state is as before it.
    """
    fallbacks = fallbacks or Fallbacks()
    fallbacks.begin(model)
    while state.step < plan.steps:
        yield fallbacks.attempt(
            state, model, plan.batch_size, lambda: take(state, plan, model, dataset, fallbacks.pieces)
        )


def take(state: State, plan: Plan, model: Model, dataset: Dataset, pieces: int = 1) -> Step:
    """One optimizer step, each batch computed in `pieces`."""
    # gradients, averaged over the batches that make up one step
    losses, prompts = [], []
    for _ in range(plan.accumulate):
        batch = dataset.batch(plan.batch_size, state)
        noise, timesteps = sample_noise(model.noise, batch.latents, state.rng)
        for part in slices(plan.batch_size, pieces):
            each = denoising_losses(model, batch.part(part), {plan.word: state.vectors}, noise[part], timesteps[part])
            loss = each.sum() / (plan.batch_size * plan.accumulate)
            (loss * model.loss_scale).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        prompts += [prompt.text for prompt in batch.prompts]

    # better to stop than to save nonsense
    mean_loss = float(torch.stack(losses).sum())
    rate = plan.rates.at(state.step)
    norm = clip_gradients(state.gradients(), model.loss_scale, plan.clip, state.step)
    _refuse_nonsense(state.step, mean_loss, norm, rate)

    # step, forget
    state.update(rate)
    length, distance = state.lengths()
    if not math.isfinite(length):
        raise NumericError(
            f"Step {state.step} at the rate {rate:g} made vectors that are not numbers any more. Those of step "
            f"{state.step - 1} were kept. Use a lower rate."
        )
    return Step(state.step, mean_loss, rate, norm, length, distance, tuple(prompts))


def _refuse_nonsense(step: int, loss: float, norm: float, rate: float) -> None:
    """Raise where a step from `step` on would spoil the vectors, or could teach them nothing."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise NumericError(
            f"Step {step + 1} gave a loss of {loss} and a gradient of {norm}. The vectors of step {step} were kept. "
            f"Use full precision (--no-half) or a lower rate than {rate:g}."
        )
    if norm == 0.0:
        raise HostError(
            f"No gradient reaches the vectors at step {step + 1}: the attention or the UNet in use gives none, so "
            "nothing would be learnt. Choose another attention optimization in the WebUI's settings."
        )
