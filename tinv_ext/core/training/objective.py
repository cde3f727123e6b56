"""What is minimised: at which timesteps, with which noise and error, weighted how.

`Objective` names rows of the tables: `timesteps.py` has the laws of timesteps, `loss_types.py` the errors,
`loss_weights.py` the weights. Their functions are pure and know no model: they are given the noise schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tinv_ext.core.noise import Noise

from . import timesteps as laws
from .loss_types import ERRORS, Huber
from .loss_weights import WEIGHTS
from .noise_samples import NoiseRules


@dataclass(frozen=True)
class Objective:
    """A law of timesteps with its options, an error, and weights by name with their numbers.

    Timesteps are from `first` on, below `end` (0: all); a `shift` above 1 moves them towards more noise. Of
    `zero_terminal_snr` see `Noise.with_zero_terminal_snr`.
    """

    timesteps: str = "uniform"
    error: str = "l2"
    weights: Mapping[str, float] = field(default_factory=dict)
    noise: NoiseRules = field(default_factory=NoiseRules)
    huber: Huber = field(default_factory=Huber)
    timestep_options: Mapping[str, float] = field(default_factory=dict)
    first: int = 0
    end: int = 0
    zero_terminal_snr: bool = False
    shift: float = 1.0

    def schedule(self, noise: Noise) -> Noise:
        """The noise schedule to train with, of a model's own."""
        return noise.with_zero_terminal_snr() if self.zero_terminal_snr else noise

    def sample(self, latents: Tensor, noise: Noise, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noise like `latents` (B, C, h, w) and timesteps (B,); from a CPU generator, so the same on every device."""
        end = min(self.end, noise.timesteps) if self.end else noise.timesteps
        law = laws.TIMESTEPS[self.timesteps]
        timesteps = law(max(1, end - self.first), len(latents), rng, **self.timestep_options)
        return self.noise.sample(latents, rng), laws.shifted(timesteps + self.first, self.shift, noise.timesteps)

    def losses(
        self, prediction: Tensor, target: Tensor, noise: Noise, timesteps: Tensor, *weights: Tensor | None
    ) -> Tensor:
        """The loss of each example (B,) float32, from prediction and target (B, C, h, w).

        `weights` are further ones, by example (B,) or by pixel (B, 1, h, w).
        """
        errors, given = self._errors(prediction, target, noise, timesteps, weights)
        losses = errors.mean(dim=tuple(range(1, errors.dim())))
        for by_example in given:
            losses = losses * by_example
        return losses

    def probed(
        self,
        prediction: Tensor,
        target: Tensor,
        noise: Noise,
        timesteps: Tensor,
        probe: Tensor,
        *weights: Tensor | None,
    ) -> Tensor:
        """⟨r, probe⟩ of each example (B,), with the residual r = ±√(error·weights), so that Σ r² is N times the loss
        of its N numbers."""
        errors, given = self._errors(prediction, target, noise, timesteps, weights)
        for by_example in given:
            errors = errors * by_example.view(-1, *[1] * (errors.dim() - 1))
        residual = (prediction.float() - target.float()).sign() * (errors + _TINY).sqrt()  # √ has no slope at 0
        return (residual * probe).flatten(1).sum(1)

    def _errors(
        self,
        prediction: Tensor,
        target: Tensor,
        noise: Noise,
        timesteps: Tensor,
        weights: tuple[Tensor | None, ...],
    ) -> tuple[Tensor, list[Tensor]]:
        """The error of each element (B, C, h, w), weighted by pixel, and the weights by example (B,)."""
        threshold = self.huber.threshold(self.error, noise, timesteps)
        errors = ERRORS[self.error](prediction.float(), target.float(), threshold)
        own = [WEIGHTS[name](noise, timesteps, number) for name, number in self.weights.items()]
        given = [weight for weight in (*weights, *own) if weight is not None]
        for by_pixel in (weight for weight in given if weight.dim() > 1):
            errors = errors * by_pixel
        return errors, [weight for weight in given if weight.dim() == 1]


_TINY = 1e-20
