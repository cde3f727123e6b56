"""The evaluation loss: how well the model with the word explains fixed images, always with the same noise.

The training loss jumps about because each step samples other timesteps and noise; this one is deterministic, so two
numbers of it can be compared. It is the measure of learning (after Voronov et al. 2023, DVAR, arXiv 2302.04841).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tinv_ext.core.data.dataset import Batch, Example, Guidance, pixel_weights, read_prompts, slices
from tinv_ext.core.model import Denoiser, Words
from tinv_ext.core.noise import Noise
from tinv_ext.core.prompts.reader import PromptReader

from .forward import denoising_losses
from .objective import Objective


@dataclass(frozen=True)
class EvalSet:
    """Fixed draws: N examples at their mean latent, N timesteps spread evenly, N noises, and the prompt for each.

    One batch, noise and timesteps for each shape that images have.
    """

    batches: tuple[Batch, ...]
    noises: tuple[Tensor, ...]
    timesteps: tuple[Tensor, ...]


def make_eval_set(
    examples: Sequence[Example],
    reader: PromptReader,
    noise: Noise,
    draws: int,
    seed: int,
    guidance: Guidance | None = None,
) -> EvalSet:
    """`draws` per example, timesteps stratified over all N draws: the middles of N equal parts, dealt out by `seed`."""
    rng = torch.Generator().manual_seed(seed)
    chosen = [example for example in examples for _ in range(draws)]
    middles = (torch.arange(len(chosen), dtype=torch.float64) + 0.5) * (noise.timesteps / len(chosen))
    timesteps = middles.long()[torch.randperm(len(chosen), generator=rng)]
    by_shape: dict[torch.Size, list[int]] = {}
    for place, example in enumerate(chosen):
        by_shape.setdefault(example.shape, []).append(place)
    batches = tuple(_batch([chosen[i] for i in places], reader, guidance) for places in by_shape.values())
    noises = tuple(torch.randn(batch.latents.shape, generator=rng) for batch in batches)
    return EvalSet(batches, noises, tuple(timesteps[places] for places in by_shape.values()))


def _batch(examples: Sequence[Example], reader: PromptReader, guidance: Guidance | None) -> Batch:
    texts = [one.subset.fixed_prompt(one.caption) for one in examples]
    prompts, negatives = read_prompts(texts, reader, guidance)
    latents = torch.stack([example.latent.mean for example in examples])
    size_conds = tuple(example.size_cond for example in examples)
    scale = guidance.scale if guidance else 1.0
    return Batch(latents, prompts, size_conds, pixel_weights(examples), None, negatives, scale)


@torch.no_grad()
def losses_by_timestep(
    model: Denoiser, eval_set: EvalSet, words: Words, batch_size: int = 8, objective: Objective | None = None
) -> tuple[Tensor, Tensor]:
    """The timesteps of all draws (N,) and the loss of each (N,), on the CPU. It samples nothing."""
    losses = []
    for batch, noise, timesteps in zip(eval_set.batches, eval_set.noises, eval_set.timesteps):
        for part in slices(len(timesteps), -(-len(timesteps) // batch_size)):
            losses.append(denoising_losses(model, batch.part(part), words, noise[part], timesteps[part], objective))
    return torch.cat(eval_set.timesteps), torch.cat(losses).cpu()


def draw_losses(model: Denoiser, eval_set: EvalSet, words: Words, batch_size: int = 8) -> Tensor:
    """The denoising loss of each draw, (N,) float64 on the CPU. It samples nothing, so it cannot disturb a run."""
    return losses_by_timestep(model, eval_set, words, batch_size)[1].double()


def draws_by_word(eval_set: EvalSet) -> dict[str, list[int]]:
    """For each word the places among `draw_losses` of those whose prompt, or negative prompt, has it."""
    found: dict[str, list[int]] = {}
    first = 0
    for batch in eval_set.batches:
        for place in range(len(batch)):
            prompts = (batch.prompts[place], *batch.negatives[place : place + 1])
            for name in {name for prompt in prompts for chunk in prompt.chunks for _, name in chunk.words}:
                found.setdefault(name, []).append(first + place)
        first += len(batch)
    return found


def evaluate(model: Denoiser, eval_set: EvalSet, words: Words, batch_size: int = 8) -> float:
    """Mean of `draw_losses`."""
    return float(draw_losses(model, eval_set, words, batch_size).mean())
