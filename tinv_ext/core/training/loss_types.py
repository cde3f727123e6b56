"""The error of each element, before any weight. Another is added as one function and one row of `ERRORS`, and by its
name in `WITH_THRESHOLD` if it takes a threshold; a threshold's fall over the timesteps is a row of `THRESHOLDS`.

Formulae and names are those of kohya's sd-scripts (48d368f, library/train_util.py, `conditional_loss` and
`get_huber_threshold_if_needed`). torch is imported only where it is needed: `--help` lists the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from tinv_ext.core.noise import Noise

# (prediction, target, both (B, C, h, w) float32, threshold (B, 1, 1, 1) or None) -> error of each element
Error = Callable[["Tensor", "Tensor", "Tensor | None"], "Tensor"]
# (noise schedule, timesteps (B,), huber_c, huber_scale) -> threshold of each example (B,)
Threshold = Callable[["Noise", "Tensor", float, float], "Tensor"]


def l2(prediction: Tensor, target: Tensor, threshold: Tensor | None = None) -> Tensor:
    """Squared error (Gal et al. 2022, arXiv 2208.01618, eq. 2)."""
    return (prediction - target) ** 2


def l1(prediction: Tensor, target: Tensor, threshold: Tensor | None = None) -> Tensor:
    """Absolute error."""
    return (prediction - target).abs()


def huber(prediction: Tensor, target: Tensor, threshold: Tensor | None) -> Tensor:
    """2c·(√(e² + c²) - c): squared error where e is below c, 2c times the absolute one above (pseudo-Huber)."""
    assert threshold is not None
    return threshold * smooth_l1(prediction, target, threshold)


def smooth_l1(prediction: Tensor, target: Tensor, threshold: Tensor | None) -> Tensor:
    """2·(√(e² + c²) - c): twice the absolute error where e is above c, squared error over c below."""
    assert threshold is not None
    return 2 * (((prediction - target) ** 2 + threshold**2).sqrt() - threshold)


def log_cosh(prediction: Tensor, target: Tensor, threshold: Tensor | None = None) -> Tensor:
    """log cosh e: half the squared error near 0, the absolute one less log 2 far off (as OneTrainer has it)."""
    import torch.nn.functional as F

    error = (prediction - target).abs()
    return error + F.softplus(-2 * error) - math.log(2)


def exponential(noise: Noise, timesteps: Tensor, c: float, scale: float) -> Tensor:
    """From 1 at the first timestep to c behind the last, times the scale."""
    return (math.log(c) / noise.timesteps * timesteps).exp() * scale


def by_snr(noise: Noise, timesteps: Tensor, c: float, scale: float) -> Tensor:
    """(1 - c)/(1 + σ)² + c with σ² = 1/SNR: from 1 without noise to c; not scaled."""
    return (1 - c) / (1 + noise.snr(timesteps).rsqrt()) ** 2 + c


def constant(noise: Noise, timesteps: Tensor, c: float, scale: float) -> Tensor:
    """c times the scale."""
    import torch

    return torch.full((len(timesteps),), c * scale, device=timesteps.device)


ERRORS: Mapping[str, Error] = {"l2": l2, "l1": l1, "huber": huber, "smooth_l1": smooth_l1, "log_cosh": log_cosh}
WITH_THRESHOLD = ("huber", "smooth_l1")
THRESHOLDS: Mapping[str, Threshold] = {"snr": by_snr, "exponential": exponential, "constant": constant}


@dataclass(frozen=True)
class Huber:
    """Where huber and smooth_l1 pass from squared to absolute errors."""

    schedule: str = "snr"
    c: float = 0.1
    scale: float = 1.0

    def threshold(self, error: str, noise: Noise, timesteps: Tensor) -> Tensor | None:
        """For each example (B, 1, 1, 1); None for an error that has none."""
        if error not in WITH_THRESHOLD:
            return None
        return THRESHOLDS[self.schedule](noise, timesteps, self.c, self.scale).view(-1, 1, 1, 1)
