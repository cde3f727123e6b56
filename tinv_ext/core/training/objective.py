"""What is minimised: at which timesteps, with which error, weighted how. Each is a pure function, known by name.

A loss weighting or an error is added as one function and one row of its table (`timesteps.py` has the laws of
timesteps); `Objective` names one of each. Nothing here knows a model: a weighting is given the noise schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tinv_ext.core.noise import Noise

from . import timesteps as laws

# (prediction, target), both (B, C, h, w) float32 -> error of each element
Error = Callable[[Tensor, Tensor], Tensor]
# (noise schedule, timesteps (B,)) -> weight of each example (B,), or None where all count alike
Weight = Callable[[Noise, Tensor], Tensor | None]


def l2(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error (Gal et al. 2022, arXiv 2208.01618, eq. 2)."""
    return (prediction - target) ** 2


def unweighted(noise: Noise, timesteps: Tensor) -> None:
    """Every timestep counts alike: the "simple" loss of Ho et al. 2020, eq. 14."""


ERRORS: Mapping[str, Error] = {"l2": l2}
WEIGHTS: Mapping[str, Weight] = {"none": unweighted}


@dataclass(frozen=True)
class Objective:
    """One row of each table, and how far the noise of a whole channel is shifted (0: not)."""

    timesteps: str = "uniform"
    error: str = "l2"
    weight: str = "none"
    noise_offset: float = 0.0

    def sample(self, latents: Tensor, noise: Noise, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """Noise like `latents` (B, C, h, w), timesteps (B,), their importance; from a CPU generator, so the same
        on every device."""
        timesteps, importance = laws.TIMESTEPS[self.timesteps](noise.timesteps, len(latents), rng)
        sampled = torch.randn(latents.shape, generator=rng)
        if self.noise_offset:
            sampled += self.noise_offset * torch.randn((*latents.shape[:2], 1, 1), generator=rng)
        return sampled, timesteps, importance

    def losses(
        self, prediction: Tensor, target: Tensor, noise: Noise, timesteps: Tensor, *weights: Tensor | None
    ) -> Tensor:
        """The loss of each example (B,) float32, from prediction and target (B, C, h, w).

        `weights` are further ones, by example (B,) or by pixel (B, 1, h, w).
        """
        errors = ERRORS[self.error](prediction.float(), target.float())
        given = [weight for weight in (*weights, WEIGHTS[self.weight](noise, timesteps)) if weight is not None]
        for by_pixel in (weight for weight in given if weight.dim() > 1):
            errors = errors * by_pixel
        losses = errors.mean(dim=tuple(range(1, errors.dim())))
        for by_example in (weight for weight in given if weight.dim() == 1):
            losses = losses * by_example
        return losses
