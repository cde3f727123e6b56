"""What the loaded model predicts, and its noise schedule."""

from __future__ import annotations

from typing import Any

from modules import sd_models, shared
from torch import Tensor

from tinv_ext.core.errors import HostError
from tinv_ext.core.messages import message
from tinv_ext.core.noise import NoiseSchedule

_PREDICTIONS = {"eps": "epsilon", "v": "v_prediction"}  # ldm/models/diffusion/ddpm.py, DDPM.parameterization


def prediction_of(sd_model: Any) -> str:
    """What the model predicts, by our names; by the WebUI's where it cannot be trained."""
    return _PREDICTIONS.get(sd_model.parameterization, str(sd_model.parameterization))


def noise_schedule(sd_model: Any) -> NoiseSchedule:
    """The model's own noise schedule, whatever the last generation has left in its place.

    v1.10.1 modules/sd_models.py, apply_alpha_schedule_override: a generation may leave a less precise copy in
    `alphas_cumprod`; of its settings only the zero terminal SNR belongs to the model, and is applied.
    """
    alphas_cumprod = getattr(sd_model, "alphas_cumprod_original", sd_model.alphas_cumprod).detach().float()
    if shared.opts.sd_noise_schedule == "Zero Terminal SNR":
        alphas_cumprod = zero_terminal_snr(alphas_cumprod)
    return NoiseSchedule(alphas_cumprod, trained_prediction(prediction_of(sd_model)))


def zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """As the program rescales a noise schedule for images (modules/sd_models.py)."""
    rescaled: Tensor = sd_models.rescale_zero_terminal_snr_abar(alphas_cumprod)
    return rescaled


def trained_prediction(prediction: str) -> str:
    """The prediction, if models that make it can be trained. Raises HostError."""
    if prediction not in _PREDICTIONS.values():
        raise HostError(
            message(
                "hosts.prediction_cannot_be_trained",
                'The loaded model predicts "{prediction}"; only models that predict noise (eps) or velocity (v) can be '
                "trained. Load another.",
                prediction=prediction,
            )
        )
    return prediction
