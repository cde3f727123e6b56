"""The evaluation loss: how well the model with the word explains fixed pictures, always with the same noise.

The training loss jumps about because each step draws other timesteps and noise; this one is deterministic, so that two
numbers of it can be compared. It is the measure of learning (after Voronov et al. 2023, DVAR, arXiv 2302.04841).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tinv_ext.core.data.dataset import Batch, Example, slices
from tinv_ext.core.model import Model, Words
from tinv_ext.core.noise import NoiseSchedule
from tinv_ext.core.prompts.reader import Prompt
from tinv_ext.core.training.losses import denoising_losses


@dataclass(frozen=True)
class EvalSet:
    """Fixed draws: N examples at their mean latent, N timesteps spread evenly, N noises, and the prompt for each.

    One batch, noise and timesteps for each shape that pictures have.
    """

    batches: tuple[Batch, ...]
    noises: tuple[Tensor, ...]
    timesteps: tuple[Tensor, ...]


def make_eval_set(
    examples: Sequence[Example], prompts: Sequence[Prompt], schedule: NoiseSchedule, draws: int, seed: int
) -> EvalSet:
    """`draws` per example, timesteps stratified over all N draws: the middles of N equal parts, dealt out by `seed`.

    `prompts` has one prompt for each example.
    """
    rng = torch.Generator().manual_seed(seed)
    chosen = [example for example in examples for _ in range(draws)]
    middles = (torch.arange(len(chosen), dtype=torch.float64) + 0.5) * (schedule.timesteps / len(chosen))
    timesteps = middles.long()[torch.randperm(len(chosen), generator=rng)]
    texts = tuple(prompt for prompt in prompts for _ in range(draws))
    shapes = [example.latent.mean.shape for example in chosen]
    alike = [[i for i, shape in enumerate(shapes) if shape == one] for one in dict.fromkeys(shapes)]
    batches = tuple(
        Batch(
            torch.stack([chosen[i].latent.mean for i in places]),
            tuple(texts[i] for i in places),
            tuple(chosen[i].size_cond for i in places),
            None,
        )
        for places in alike
    )
    noises = tuple(torch.randn(batch.latents.shape, generator=rng) for batch in batches)
    return EvalSet(batches, noises, tuple(timesteps[places] for places in alike))


@torch.no_grad()
def evaluate(model: Model, probe: EvalSet, words: Words, batch_size: int = 8) -> float:
    """Mean denoising loss over the probe. It draws nothing, so it cannot disturb a run."""
    losses = []
    for batch, noise, timesteps in zip(probe.batches, probe.noises, probe.timesteps):
        for part in slices(len(timesteps), -(-len(timesteps) // batch_size)):
            losses.append(denoising_losses(model, batch.part(part), words, noise[part], timesteps[part]))
    return float(torch.cat(losses).double().mean())
