"""The WebUI's loaded model as `core.model.Model`: ldm's LatentDiffusion (SD1, SD2) or sgm's DiffusionEngine (SDXL)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import torch
from modules import devices, sd_hijack, sd_models, shared
from torch import Tensor

from tinv_ext.core.data.images import SizeConditioning
from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.errors import HostError
from tinv_ext.core.messages import message
from tinv_ext.core.model import Words
from tinv_ext.core.noise import NoiseSchedule
from tinv_ext.core.prompts.inputs import PromptInputs
from tinv_ext.core.prompts.reader import Prompt
from tinv_ext.hosts.a1111.devices import OffloadedModule, full_precision
from tinv_ext.hosts.a1111.encoders import text_encoders
from tinv_ext.hosts.checkpointing import gradient_checkpointing
from tinv_ext.hosts.prompt_vectors import ClipTokenTable, Condition, assemble_prompts, encode_prompts
from tinv_ext.hosts.vae import INPAINTING, all_masked, encode, encoder_digest

_PREDICTIONS = {"eps": "epsilon", "v": "v_prediction"}  # ldm/models/diffusion/ddpm.py, DDPM.parameterization
_HALF_SCALE = 1024.0  # gradients of the loss in float16 would fall below its smallest number
_LEAST_SCALE = 16.0  # what is tried where a gradient times that is above its largest
# What SDXL's conditioner calls the numbers of a framing, in their order (sgm's configs, modules/sd_models_xl.py).
_SIZES = ("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple")


class WebuiModel:
    """The loaded model. Use it inside `A1111Host.training` only.

    Precision is the WebUI's own: its autocast is entered here, inside each function, and never held around a yield.
    """

    def __init__(
        self,
        sd_model: Any,
        token_table: ClipTokenTable,
        clip_skip: int,
        known: Words,
        vae: OffloadedModule,
        undo: ExitStack,
    ) -> None:
        self._undo = undo  # closed when the training is left
        self._sd_model = sd_model
        self._token_table = token_table
        self._encoders = text_encoders(sd_model, clip_skip)
        self._known = known
        self._vae = vae
        self._masked: dict[tuple[int, int], Tensor] = {}
        self.widths = token_table.widths
        self.tokenizer = token_table.tokenizer
        self.device = torch.device(devices.device)
        self.noise = noise_schedule(sd_model).on(self.device)
        self.loss_scale = _HALF_SCALE if devices.dtype_unet == torch.float16 else 1.0

    @cached_property
    def vae_digest(self) -> str:
        return encoder_digest(self._sd_model.first_stage_model, self._sd_model.scale_factor)

    def token_vectors(self, ids: Sequence[int]) -> dict[str, Tensor]:
        return self._token_table.token_vectors(ids)

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> LatentDistribution:
        self._vae.load()
        return encode(self._sd_model.first_stage_model, pixels.to(self.device), float(self._sd_model.scale_factor))

    def assemble_prompts(
        self, prompts: Sequence[Prompt], words: Words, size_conds: Sequence[SizeConditioning]
    ) -> PromptInputs:
        return assemble_prompts(prompts, words, size_conds, self._encoders, self.tokenizer, self._known)

    def encode(self, inputs: PromptInputs, words: Words) -> Condition:
        # modules/sd_hijack.py, EmbeddingsWithFixes: vectors that a broken-off encoding left behind would be put in here
        sd_hijack.model_hijack.fixes = None
        with devices.autocast():
            return encode_prompts(inputs, words, self._encoders)

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        given = self._given(noisy, condition)
        self._vae.offload()
        # v1.10.1 modules/sd_hijack_unet.py wraps apply_model: it brings a dict's tensors to the UNet's type and enters
        # the WebUI's autocast, so that training goes the way of a generation.
        return self._sd_model.apply_model(noisy, timesteps, given)

    def _given(self, noisy: Tensor, condition: Condition) -> dict[str, Any]:
        """What `apply_model` wants beside the noisy latent: ldm lists by kind, sgm context and vector."""
        if condition.pooled is not None:
            return {"crossattn": condition.context, "vector": self._vector(condition)}
        if self._sd_model.model.diffusion_model.in_channels == INPAINTING:
            return {"c_crossattn": [condition.context], "c_concat": [self._all_masked(noisy)]}
        return {"c_crossattn": [condition.context]}

    def _vector(self, condition: Condition) -> Tensor:
        """Pooled text and framing as one vector (B, adm), as sgm's GeneralConditioner puts it together."""
        assert condition.pooled is not None
        assert condition.sizes is not None
        embedders = {embedder.input_key: embedder for embedder in self._sd_model.conditioner.embedders}
        sizes = condition.sizes.to(devices.dtype).split(2, dim=1)
        with devices.autocast():
            said = [embedders[name](size) for name, size in zip(_SIZES, sizes)]
        return torch.cat([condition.pooled, *said], 1)

    def _all_masked(self, noisy: Tensor) -> Tensor:
        height, width = noisy.shape[-2:]
        if (height, width) not in self._masked:
            self._masked[height, width] = all_masked(self.encode_images, height, width).to(noisy)
        return self._masked[height, width].expand(len(noisy), -1, -1, -1)

    def release_memory(self) -> None:
        devices.torch_gc()

    def enable_gradient_checkpointing(self) -> None:
        self._undo.enter_context(gradient_checkpointing(self._sd_model.model))

    def upcast(self) -> str | None:
        if self.loss_scale > _LEAST_SCALE:
            self.loss_scale = _LEAST_SCALE
            return "a smaller loss scale"
        if devices.dtype_unet == torch.float32:
            return None
        self.loss_scale = 1.0
        self._undo.enter_context(full_precision(self._sd_model.model, self._sd_model.cond_stage_model))
        return "full precision"


def noise_schedule(sd_model: Any) -> NoiseSchedule:
    """The model's own noise, whatever the last generation has put in its place.

    v1.10.1 modules/sd_models.py, apply_alpha_schedule_override: a generation may leave a coarser copy of it in
    `alphas_cumprod`; only the zero terminal SNR is a property of the model, and is followed.
    """
    kept = getattr(sd_model, "alphas_cumprod_original", sd_model.alphas_cumprod).detach().float()
    if shared.opts.sd_noise_schedule == "Zero Terminal SNR":
        kept = sd_models.rescale_zero_terminal_snr_abar(kept)
    if sd_model.parameterization not in _PREDICTIONS:
        raise HostError(
            message(
                "hosts.prediction_cannot_be_trained",
                'The loaded model predicts "{prediction}"; only models that predict noise (eps) or velocity (v) can be '
                "trained. Load another.",
                prediction=sd_model.parameterization,
            )
        )
    return NoiseSchedule(kept, _PREDICTIONS[sd_model.parameterization])
