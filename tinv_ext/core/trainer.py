"""The training loop of textual inversion (Gal et al. 2022, arXiv 2208.01618).

Everything of the model is frozen; the vectors of one word are all that is optimised. What comes out is yielded, to stop
is to leave the loop, to go on is to call it again with the same state. It saves nothing, shows nothing, asks nobody.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch

from .dataset import Dataset
from .errors import NumericError
from .gradients import Clip, clip_gradients
from .losses import denoising_loss, draw
from .model import Model
from .schedules import Schedule
from .state import State


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
    """One optimizer step that was taken: its number, the mean loss of its batches, rate and length of the gradient."""

    number: int
    loss: float
    rate: float
    gradient_norm: float
    prompts: tuple[str, ...]


def train(state: State, plan: Plan, model: Model, dataset: Dataset) -> Generator[Step, None, None]:
    """Run from `state.step` to `plan.steps`, yielding after each optimizer step."""
    while state.step < plan.steps:
        # gradients, averaged over the batches that make up one step
        losses, prompts = [], []
        for _ in range(plan.accumulate):
            batch = dataset.batch(plan.batch_size, state)
            noise, timesteps = draw(model.noise, batch.latents, state.rng)
            loss = denoising_loss(model, batch, {plan.word: state.vectors}, noise, timesteps)
            (loss * (model.loss_scale / plan.accumulate)).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            prompts += [prompt.text for prompt in batch.prompts]

        # better to stop than to save nonsense
        mean_loss = float(torch.stack(losses).mean())
        rate = plan.rates.at(state.step)
        norm = clip_gradients(state.gradients(), model.loss_scale, plan.clip, state.step)
        if not (torch.isfinite(torch.tensor([mean_loss, norm]))).all():
            state.optimizer.zero_grad(set_to_none=True)
            raise NumericError(
                f"Step {state.step + 1} gave a loss of {mean_loss} and a gradient of {norm}. The vectors of step "
                f"{state.step} were kept. Use full precision (--no-half) or a lower rate than {rate:g}."
            )

        # step, forget
        state.update(rate)
        yield Step(state.step, mean_loss, rate, norm, tuple(prompts))
