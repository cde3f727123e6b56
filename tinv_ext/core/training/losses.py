"""The denoising loss, as a pure function: what is random comes in as arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from tinv_ext.core.data.dataset import Batch
from tinv_ext.core.model import Model, Words
from tinv_ext.core.noise import NoiseSchedule


def sample_noise(schedule: NoiseSchedule, latents: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Standard normal noise like `latents` and uniform timesteps (B,), from a CPU generator: the same on any device."""
    timesteps = torch.randint(schedule.timesteps, (latents.shape[0],), generator=rng)
    return torch.randn(latents.shape, generator=rng), timesteps


def denoising_loss(model: Model, batch: Batch, words: Words, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Mean squared error of the UNet's answer, each pixel weighted, averaged over the batch: a scalar in float32.

    The loss of Ho et al. 2020 as textual inversion uses it (Gal et al. 2022, arXiv 2208.01618, eq. 2).
    """
    return denoising_losses(model, batch, words, noise, timesteps).mean()


def denoising_losses(model: Model, batch: Batch, words: Words, noise: Tensor, timesteps: Tensor) -> Tensor:
    """As `denoising_loss`, one number for each example: (B,)."""
    latents, noise, timesteps = (part.to(model.device) for part in (batch.latents, noise, timesteps))
    condition = model.encode_prompts(batch.prompts, words, batch.size_conds)
    answer = model.denoise(model.noise.add(latents, noise, timesteps), timesteps, condition)
    error = (answer.float() - model.noise.target(latents, noise, timesteps).float()) ** 2  # (B, 4, h, w)
    if batch.weights is not None:
        error = error * batch.weights.to(error.device)
    return error.mean(dim=tuple(range(1, error.dim())))
