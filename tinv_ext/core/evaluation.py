"""The evaluation loss: how well the model with the word explains fixed pictures, always with the same noise.

The training loss jumps about because each step draws other timesteps and noise; this one is deterministic, so that two
numbers of it can be compared. It is the measure of learning (after Voronov et al. 2023, DVAR, arXiv 2302.04841).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .dataset import Batch, Example, slices
from .losses import denoising_losses
from .model import Model, Words
from .noise import NoiseSchedule
from .prompts import Prompt


@dataclass(frozen=True)
class Probe:
    """Fixed draws: N examples at their mean latent, N timesteps spread evenly, N noises, and the prompt for each."""

    batch: Batch
    noise: Tensor
    timesteps: Tensor


def make_probe(
    examples: Sequence[Example], prompts: Sequence[Prompt], schedule: NoiseSchedule, draws: int, seed: int
) -> Probe:
    """`draws` per example, timesteps stratified over all N draws: the middles of N equal parts, dealt out by `seed`.

    `prompts` has one prompt for each example.
    """
    rng = torch.Generator().manual_seed(seed)
    chosen = [example for example in examples for _ in range(draws)]
    latents = torch.stack([example.latent.mean for example in chosen])
    middles = (torch.arange(len(chosen), dtype=torch.float64) + 0.5) * (schedule.timesteps / len(chosen))
    timesteps = middles.long()[torch.randperm(len(chosen), generator=rng)]
    texts = tuple(prompt for prompt in prompts for _ in range(draws))
    batch = Batch(latents, texts, tuple(example.framing for example in chosen), None)
    return Probe(batch, torch.randn(latents.shape, generator=rng), timesteps)


@torch.no_grad()
def evaluate(model: Model, probe: Probe, words: Words, batch_size: int = 8) -> float:
    """Mean denoising loss over the probe. It draws nothing, so it cannot disturb a run."""
    losses = []
    for part in slices(len(probe.timesteps), -(-len(probe.timesteps) // batch_size)):
        losses.append(denoising_losses(model, probe.batch.part(part), words, probe.noise[part], probe.timesteps[part]))
    return float(torch.cat(losses).double().mean())
