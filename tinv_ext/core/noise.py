"""Noise schedules: how much signal is left at each timestep, and what the UNet answers.

Names follow Ho et al. 2020 (DDPM, arXiv 2006.11239) and Salimans & Ho 2022 (v-prediction, arXiv 2202.00512).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from .errors import HostError
from .messages import message

PREDICTIONS = ("epsilon", "v_prediction")


class Noise(Protocol):
    """What training asks of a noise schedule; latents and noise are (B, C, h, w), `timesteps` (B,) int64."""

    @property
    def timesteps(self) -> int:
        """How many timesteps the model knows (1000 for Stable Diffusion)."""
        ...

    @property
    def prediction(self) -> str:
        """What the UNet answers, one of `PREDICTIONS`."""
        ...

    def with_zero_terminal_snr(self) -> Noise:
        """The same schedule, stretched so that the last timestep is noise alone."""
        ...

    def add(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The noisy latents that the UNet is given."""
        ...

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What a perfect UNet would answer to them."""
        ...

    def snr(self, timesteps: Tensor) -> Tensor:
        """Signal-to-noise ratio (B,) of noisy latents, in powers (Hang et al. 2023, arXiv 2303.09556)."""
        ...


@dataclass(frozen=True)
class NoiseSchedule:
    """DDPM: `alphas_cumprod` (T,) float32, falling from about 1 towards 0, and what the UNet predicts.

    The table lies where the latents do (`on`), so that a step looks it up without moving it.
    """

    alphas_cumprod: Tensor
    prediction: str = "epsilon"

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise HostError(
                message(
                    "noise.prediction",
                    'The model predicts "{prediction}"; only {known: and } can be trained. Load another checkpoint.',
                    prediction=self.prediction,
                    known=PREDICTIONS,
                )
            )

    def on(self, device: torch.device) -> NoiseSchedule:
        """The same schedule for latents on `device`."""
        return replace(self, alphas_cumprod=self.alphas_cumprod.to(device))

    @property
    def timesteps(self) -> int:
        return len(self.alphas_cumprod)

    def with_zero_terminal_snr(self) -> NoiseSchedule:
        """√ᾱ shifted to end at 0 and scaled to begin as before (Lin et al. 2023, arXiv 2305.08891, algorithm 1)."""
        table = self.alphas_cumprod
        signal = (table.double() if table.is_cpu or table.is_cuda else table).sqrt()  # other devices have no float64
        signal = (signal - signal[-1]) * (signal[0] / (signal[0] - signal[-1]))
        return replace(self, alphas_cumprod=(signal**2).to(table.dtype))

    def add(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """√ᾱ·x + √(1-ᾱ)·ε."""
        signal, sigma = self._scales(latents, timesteps)
        return signal * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """ε, or v = √ᾱ·ε - √(1-ᾱ)·x."""
        if self.prediction == "epsilon":
            return noise
        signal, sigma = self._scales(latents, timesteps)
        return signal * noise - sigma * latents

    def snr(self, timesteps: Tensor) -> Tensor:
        """ᾱ/(1-ᾱ)."""
        alphas = self.alphas_cumprod[timesteps]
        return alphas / (1 - alphas)

    def _scales(self, like: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        alphas = self.alphas_cumprod[timesteps].to(like.dtype)
        alphas = alphas.view(-1, *[1] * (like.dim() - 1))  # (B, 1, 1, 1)
        return alphas.sqrt(), (1 - alphas).sqrt()


def scaled_linear(start: float = 0.00085, end: float = 0.012, timesteps: int = 1000) -> Tensor:
    """ᾱ of Stable Diffusion's schedule: betas linear in their square root (LDM's `make_beta_schedule("linear")`)."""
    betas = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()
