"""The noise of a step, and the ways of the peers to sample other than plain noise.

Formulae are those of kohya's sd-scripts (48d368f, library/custom_train_functions.py and train_util.py), and so are the
settings' names. All is sampled from the run's CPU generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class NoiseRules:
    """How noise differs from standard normal numbers; 0 and False: not."""

    noise_offset: float = 0.0
    noise_offset_random_strength: bool = False
    multires_noise_iterations: int = 0
    multires_noise_discount: float = 0.3
    ip_noise_gamma: float = 0.0
    ip_noise_gamma_random_strength: bool = False
    adaptive_noise_scale: float = 0.0

    def sample(self, latents: Tensor, rng: torch.Generator) -> Tensor:
        """Noise for a batch of latents (B, C, h, w)."""
        shape = latents.shape
        noise = torch.randn(shape, generator=rng)
        if self.noise_offset:
            strength = _strength(self.noise_offset, self.noise_offset_random_strength, rng)
            if self.adaptive_noise_scale:  # the further the mean of a channel is from 0, the more
                means = latents.mean(dim=(2, 3), keepdim=True).abs()
                strength = (strength + self.adaptive_noise_scale * means).clamp(min=0)
            noise += strength * torch.randn((*shape[:2], 1, 1), generator=rng)
        if self.multires_noise_iterations:
            noise = _pyramid(noise, self.multires_noise_iterations, self.multires_noise_discount, rng)
        return noise

    def perturbed(self, noise: Tensor, rng: torch.Generator) -> Tensor | None:
        """The noise that the UNet is given instead of `noise`, which it is to predict; None where it is the same.

        Ning et al. 2023, arXiv 2301.11706.
        """
        if not self.ip_noise_gamma:
            return None
        strength = _strength(self.ip_noise_gamma, self.ip_noise_gamma_random_strength, rng)
        return noise + strength * torch.randn(noise.shape, generator=rng)


def _strength(most: float, random: bool, rng: torch.Generator) -> float | Tensor:
    return torch.rand(1, generator=rng) * most if random else most


def _pyramid(noise: Tensor, iterations: int, discount: float, rng: torch.Generator) -> Tensor:
    """Noise of ever lower resolutions added, the whole batch brought back to a deviation of 1.

    After https://wandb.ai/johnowhitaker/multires_noise.
    """
    height, width = noise.shape[2:]
    for level in range(iterations):
        smaller = (2 + 2 * float(torch.rand(1, generator=rng))) ** level
        size = max(1, int(height / smaller)), max(1, int(width / smaller))
        low = torch.randn((*noise.shape[:2], *size), generator=rng)
        noise = noise + F.interpolate(low, (height, width), mode="bilinear") * discount**level
        if 1 in size:
            break
    return noise / noise.std()
