"""The WebUI's loaded model as `core.model.Model`: ldm's LatentDiffusion (SD1, SD2) or sgm's DiffusionEngine (SDXL)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import torch
from modules import devices, sd_hijack
from torch import Tensor

from tinv_ext.core.data.image_fit import SizeConditioning
from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.model import Tensors, Words
from tinv_ext.core.prompts.inputs import PromptInputs
from tinv_ext.core.prompts.reader import Prompt
from tinv_ext.hosts.a1111.devices import OffloadedModule, full_precision
from tinv_ext.hosts.a1111.encoders import text_encoders
from tinv_ext.hosts.a1111.noise import noise_schedule
from tinv_ext.hosts.checkpointing import gradient_checkpointing
from tinv_ext.hosts.cuda_graphs import Graphs
from tinv_ext.hosts.loss_scale import LossScale
from tinv_ext.hosts.offloading import offloaded
from tinv_ext.hosts.prompt_vectors import ClipTokenTable, Condition, assemble_prompts, encode_prompts
from tinv_ext.hosts.vae import AllMasked, encode, encoder_digest

# SDXL's size conditioning as its conditioner names it, in order (sgm's configs, modules/sd_models_xl.py).
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
        graphs: Graphs,
    ) -> None:
        self._undo = undo  # closed when the training is left
        self._sd_model = sd_model
        self._token_table = token_table
        self._encoders = text_encoders(sd_model, clip_skip)
        self._known = known
        self._vae = vae
        self._all_masked = AllMasked(self.encode_images, sd_model.model.diffusion_model.in_channels)
        self.widths = token_table.widths
        self.tokenizer = token_table.tokenizer
        self.device = torch.device(devices.device)
        self.noise = noise_schedule(sd_model).on(self.device)
        self._loss_scale = LossScale(devices.dtype_unet)
        self._graphs = graphs

    @property
    def loss_scale(self) -> float:
        return self._loss_scale.value

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
        # modules/sd_hijack.py, EmbeddingsWithFixes would insert the vectors that an interrupted encoding left here
        sd_hijack.model_hijack.fixes = None
        with devices.autocast():
            return encode_prompts(inputs, words, self._encoders, self._graphs.call)

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        conditioning = self._conditioning(noisy, condition)
        self._vae.offload()
        (prediction,) = self._graphs.call("unet", self._apply, (noisy, timesteps, *conditioning))
        return prediction

    def _apply(self, noisy: Tensor, timesteps: Tensor, context: Tensor, *others: Tensor) -> Tensors:
        """The UNet's answer. `others` is SDXL's vector, or the channels that a model for inpainting has besides."""
        # lists for ldm, tensors by name for sgm
        if len(self.widths) > 1:
            given: dict[str, Any] = {"crossattn": context, "vector": others[0]}
        else:
            given = {"c_crossattn": [context], **({"c_concat": list(others)} if others else {})}
        # v1.10.1 modules/sd_hijack_unet.py wraps apply_model: it casts a dict's tensors to the UNet's dtype and enters
        # the WebUI's autocast, so that training goes the way of a generation.
        return (self._sd_model.apply_model(noisy, timesteps, given),)

    def _conditioning(self, noisy: Tensor, condition: Condition) -> Tensors:
        """What `_apply` is given beside the noisy latent and its timesteps."""
        if condition.pooled is not None:
            return condition.context, self._vector(condition)
        if self._all_masked.needed:
            return condition.context, self._all_masked.channels(noisy)
        return (condition.context,)

    def _vector(self, condition: Condition) -> Tensor:
        """Pooled text and size conditioning as one vector (B, adm), as sgm's GeneralConditioner concatenates it."""
        assert condition.pooled is not None
        assert condition.sizes is not None
        embedders = {embedder.input_key: embedder for embedder in self._sd_model.conditioner.embedders}
        sizes = torch.split(condition.sizes.to(devices.dtype), 2, dim=1)
        with devices.autocast():
            embedded = [embedders[name](size) for name, size in zip(_SIZES, sizes)]
        return torch.cat([condition.pooled, *embedded], 1)

    def release_memory(self) -> None:
        self._graphs.save_memory()
        devices.torch_gc()

    def enable_gradient_checkpointing(self) -> None:
        self._graphs.renew()
        self._undo.enter_context(gradient_checkpointing(self._sd_model.model))

    def offload_weights(self) -> bool:
        if self.device.type != "cuda":
            return False
        self._graphs.end()
        parts = (self._sd_model.model, self._sd_model.cond_stage_model)
        return self._undo.enter_context(offloaded(parts, self.device))

    def upcast(self) -> str | None:
        self._graphs.renew()
        parts = self._sd_model.model, self._sd_model.cond_stage_model
        return self._loss_scale.upcast(lambda: self._undo.enter_context(full_precision(*parts)))
