"""The noise of diffusion: how much of it a timestep means, and what the model predicts of it.

Names follow Ho et al. 2020 (DDPM, arXiv 2006.11239) and Salimans & Ho 2022 (v-prediction, arXiv 2202.00512).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tinv_ext.core.errors import HostError

PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True)
class NoiseSchedule:
    """`alphas_cumprod` (T,) float32, falling from about 1 towards 0, and what the UNet predicts of a noisy latent."""

    alphas_cumprod: Tensor
    prediction: str = "epsilon"

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise HostError(
                f'The model predicts "{self.prediction}"; only {" and ".join(PREDICTIONS)} can be trained. '
                "Load another checkpoint."
            )

    @property
    def timesteps(self) -> int:
        """How many timesteps the model knows (1000 for Stable Diffusion)."""
        return len(self.alphas_cumprod)

    def add(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noisy latents √ᾱ·x + √(1-ᾱ)·ε; all (B, C, h, w), `timesteps` (B,) int64."""
        signal, sigma = self._scales(latents, timesteps)
        return signal * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What a perfect model would answer: ε, or v = √ᾱ·ε - √(1-ᾱ)·x. Shapes as in `add`."""
        if self.prediction == "epsilon":
            return noise
        signal, sigma = self._scales(latents, timesteps)
        return signal * noise - sigma * latents

    def _scales(self, like: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        alphas = self.alphas_cumprod.to(like.device)[timesteps.to(like.device)].to(like.dtype)
        alphas = alphas.view(-1, *[1] * (like.dim() - 1))  # (B, 1, 1, 1)
        return alphas.sqrt(), (1 - alphas).sqrt()


def scaled_linear(start: float = 0.00085, end: float = 0.012, timesteps: int = 1000) -> Tensor:
    """ᾱ of Stable Diffusion's schedule: betas linear in their square root (LDM's `make_beta_schedule("linear")`)."""
    betas = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()
