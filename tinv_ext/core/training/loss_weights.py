"""Weights of losses by timestep.

Another is added as one function, one row of `WEIGHTS`, and a setting of the row's name in `core/settings/loss.py`: its
number is given to the function, and 0 turns the weight off. Formulae are those of kohya's sd-scripts (48d368f,
library/custom_train_functions.py), P2 that of OneTrainer (23df383, ModelSetupDiffusionLossMixin.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tinv_ext.core.noise import Noise

# (noise schedule, timesteps (B,), the setting's number) -> weight of each example (B,)
Weight = Callable[[Noise, Tensor, float], Tensor]
_LARGEST_SNR = 1000.0  # where kohya bounds it: without noise it is infinite


def min_snr(noise: Noise, timesteps: Tensor, gamma: float) -> Tensor:
    """min(SNR, γ)/SNR, for v over SNR + 1 (Hang et al. 2023, arXiv 2303.09556). Without any signal 1, its limit."""
    snr = noise.snr(timesteps)
    if noise.prediction == "v_prediction":
        return snr.clamp(max=gamma) / (snr + 1)
    return (gamma / snr).clamp(max=1.0)


def like_noise_prediction(noise: Noise, timesteps: Tensor, on: float) -> Tensor:
    """SNR/(SNR + 1): the loss of v as that of ε would be."""
    return _as_noise(noise, timesteps)


def like_v_prediction(noise: Noise, timesteps: Tensor, share: float) -> Tensor:
    """1 + share·(SNR + 1)/SNR: a share of the loss that v would have, beside that of ε."""
    return 1 + share / _as_noise(noise, timesteps)


def debiased_estimation(noise: Noise, timesteps: Tensor, on: float) -> Tensor:
    """1/√SNR, for v 1/(SNR + 1) (Yu et al. 2023, arXiv 2310.08442)."""
    snr = noise.snr(timesteps).clamp(max=_LARGEST_SNR)
    return 1 / (snr + 1) if noise.prediction == "v_prediction" else snr.rsqrt()


def p2(noise: Noise, timesteps: Tensor, gamma: float) -> Tensor:
    """(1 + SNR)^-γ, for v (2 + SNR)^-γ (Choi et al. 2022, arXiv 2204.00227)."""
    return (noise.snr(timesteps) + (2.0 if noise.prediction == "v_prediction" else 1.0)) ** -gamma


def _as_noise(noise: Noise, timesteps: Tensor) -> Tensor:
    snr: Tensor = torch.clamp(noise.snr(timesteps), max=_LARGEST_SNR)
    return snr / (snr + 1)


WEIGHTS: Mapping[str, Weight] = {
    "min_snr_gamma": min_snr,
    "scale_v_pred_loss_like_noise_pred": like_noise_prediction,
    "v_pred_like_loss": like_v_prediction,
    "debiased_estimation_loss": debiased_estimation,
    "p2_gamma": p2,
}
