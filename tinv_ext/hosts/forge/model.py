"""The loaded model of Forge as `core.model.Model`: its own UNet, transformers' text encoders, its own VAE."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import torch
from backend import memory_management
from backend.modules.k_prediction import rescale_zero_terminal_snr_sigmas
from modules import shared
from torch import Tensor

from tinv_ext.core.data.image_fit import SizeConditioning
from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.families import SD1
from tinv_ext.core.model import Words
from tinv_ext.core.noise import NoiseSchedule
from tinv_ext.core.prompts.inputs import PromptInputs
from tinv_ext.core.prompts.reader import Prompt
from tinv_ext.hosts.checkpointing import gradient_checkpointing
from tinv_ext.hosts.forge.encoders import text_encoders
from tinv_ext.hosts.forge.model_type import input_channels
from tinv_ext.hosts.forge.session import ModelParts
from tinv_ext.hosts.freezing import weights_in_float32
from tinv_ext.hosts.loss_scale import LossScale
from tinv_ext.hosts.prompt_vectors import ClipTokenTable, Condition, assemble_prompts, encode_prompts
from tinv_ext.hosts.vae import INPAINTING, all_masked, encode, encoder_digest


class ForgeModel:
    """The loaded model. Use it inside `ForgeHost.training` only.

    Precision is the program's own: its layers cast their weights to the type of what they are given.
    """

    def __init__(
        self, engine: Any, parts: ModelParts, token_table: ClipTokenTable, clip_skip: int, known: Words, undo: ExitStack
    ) -> None:
        self._undo = undo  # closed when the training is left
        self._engine = engine
        self._parts = parts
        self._token_table = token_table
        self._encoders = text_encoders(engine, clip_skip)
        self._known = known
        self._masked: dict[tuple[int, int], Tensor] = {}
        self.widths = token_table.widths
        self.tokenizer = token_table.tokenizer
        self.device = torch.device(memory_management.get_torch_device())
        self.noise = noise_schedule(engine).on(self.device)
        self._loss_scale = LossScale(parts.k_model.computation_dtype)

    @property
    def loss_scale(self) -> float:
        return self._loss_scale.value

    @property
    def _scale(self) -> float:
        """backend/nn/vae.py, process_in: (latent - shift) times the scale; SD1, SD2 and SDXL shift nothing."""
        zero = torch.zeros(1, SD1.latent_channels, 1, 1)  # as many in each of them
        scaled = self._parts.vae.process_in(zero + 1) - self._parts.vae.process_in(zero)
        return float(scaled.flatten()[0])

    @cached_property
    def vae_digest(self) -> str:
        return encoder_digest(self._parts.vae, self._scale)

    def token_vectors(self, ids: Sequence[int]) -> dict[str, Tensor]:
        return self._token_table.token_vectors(ids)

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> LatentDistribution:
        self._parts.load_vae()
        return encode(self._parts.vae, pixels.to(self.device), self._scale)

    def assemble_prompts(
        self, prompts: Sequence[Prompt], words: Words, size_conds: Sequence[SizeConditioning]
    ) -> PromptInputs:
        return assemble_prompts(prompts, words, size_conds, self._encoders, self.tokenizer, self._known)

    def encode(self, inputs: PromptInputs, words: Words) -> Condition:
        self._parts.load_for_training()
        return encode_prompts(inputs, words, self._encoders)

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        # Not by KModel.apply_model, which takes sigmas and answers with the denoised image.
        dtype = self._parts.k_model.computation_dtype
        if input_channels(self._parts.unet) == INPAINTING:
            noisy = torch.cat([noisy, self._all_masked(noisy)], 1)
        self._parts.load_for_training()
        vector = self._vector(condition)
        prediction: Tensor = self._parts.unet(
            noisy.to(dtype),
            timesteps.float(),
            context=condition.context.to(dtype),
            y=None if vector is None else vector.to(dtype),
            transformer_options={},
        )
        return prediction

    def _vector(self, condition: Condition) -> Tensor | None:
        """Pooled text and size conditioning as one vector (B, adm): backend/diffusion_engine/sdxl.py."""
        if condition.pooled is None:
            return None
        assert condition.sizes is not None
        sizes = [self._engine.embedder(size).to(condition.pooled) for size in condition.sizes.unbind(1)]
        return torch.cat([condition.pooled, *sizes], 1)

    def _all_masked(self, noisy: Tensor) -> Tensor:
        height, width = noisy.shape[-2:]
        if (height, width) not in self._masked:
            self._masked[height, width] = all_masked(self.encode_images, height, width).to(noisy)
        return self._masked[height, width].expand(len(noisy), -1, -1, -1)

    def release_memory(self) -> None:
        memory_management.soft_empty_cache()

    def enable_gradient_checkpointing(self) -> None:
        self._undo.enter_context(gradient_checkpointing(self._parts.unet))

    def upcast(self) -> str | None:
        return self._loss_scale.upcast(lambda: self._undo.enter_context(_computing_in_float32(self._parts.k_model)))


@contextmanager
def _computing_in_float32(k_model: Any) -> Any:
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
