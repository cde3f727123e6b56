"""The loaded model of Forge made ready for `PatcherModel`: its own UNet, transformers' text encoders, its own VAE."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from backend import attention, memory_management
from backend.modules.k_prediction import rescale_zero_terminal_snr_sigmas
from backend.nn import unet as forge_unet
from modules import shared

from tinv_ext.core.families import SD1
from tinv_ext.core.model import Words
from tinv_ext.core.noise import NoiseSchedule
from tinv_ext.hosts.forge.encoders import tables_of, text_encoders, text_engines, token_table
from tinv_ext.hosts.freezing import weights_in_float32
from tinv_ext.hosts.patchers.backend import Backend, Numbers
from tinv_ext.hosts.patchers.model import PatcherModel
from tinv_ext.hosts.patchers.session import ModelParts, session
from tinv_ext.hosts.webui.program import may_record_graphs


def backend() -> Backend:
    """backend/nn/unet.py has the attention function by name."""
    own = attention.attention_pytorch
    return Backend(memory_management, forge_unet, "attention_function", own, may_record_graphs(shared.cmd_opts))


def ready(engine: Any) -> Any:
    """The session in which the model is trained (a context manager of `ModelParts`)."""
    dtype = engine.forge_objects_original.unet.model.computation_dtype
    return session(engine, backend(), dtype, tables_of(text_engines(engine)))


def forge_model(engine: Any, parts: ModelParts, clip_skip: int, known: Words, undo: ExitStack) -> PatcherModel:
    """The model of a session; `undo` is closed when the training is left."""
    k_model = engine.forge_objects_original.unet.model
    numbers = Numbers(
        noise_schedule(engine),
        _latent_scale(parts.vae),
        getattr(engine, "embedder", _no_sizes),
        lambda: k_model.computation_dtype,
        lambda: _computing_in_float32(k_model),
    )
    return PatcherModel(parts, numbers, token_table(engine), text_encoders(engine, clip_skip), known, undo)


def _no_sizes(_: torch.Tensor) -> torch.Tensor:
    raise AssertionError("only SDXL has a size conditioning")


def _latent_scale(vae: Any) -> float:
    """backend/nn/vae.py, process_in: (latent - shift) times the scale; SD1, SD2 and SDXL shift nothing."""
    zero = torch.zeros(1, SD1.latent_channels, 1, 1)  # as many in each of them
    scaled = vae.process_in(zero + 1) - vae.process_in(zero)
    return float(scaled.flatten()[0])


@contextmanager
def _computing_in_float32(k_model: Any) -> Iterator[None]:
    before = k_model.computation_dtype
    try:
        with weights_in_float32(k_model):
            k_model.computation_dtype = torch.float32
            yield
    finally:
        k_model.computation_dtype = before


def noise_schedule(engine: Any) -> NoiseSchedule:
    """The model's own noise schedule, with zero terminal SNR where the settings or the checkpoint ask for it.

    modules/processing.py, process_images_inner: that is put into the predictor for each image, and taken out again.
    """
    predictor = engine.forge_objects_original.unet.model.predictor
    alphas_cumprod = predictor.alphas_cumprod.detach().clone().float()
    chosen = getattr(shared.opts, "sd_noise_schedule", "") == "Zero Terminal SNR"
    if chosen or getattr(engine.model_config, "ztsnr", False):
        sigmas = ((1 - alphas_cumprod) / alphas_cumprod).sqrt()
        alphas_cumprod = 1 / (rescale_zero_terminal_snr_sigmas(sigmas) ** 2 + 1)
    return NoiseSchedule(alphas_cumprod, predictor.prediction_type)
