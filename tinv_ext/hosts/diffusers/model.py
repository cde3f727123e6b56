"""A diffusers pipeline as `core.model.Model`: what the training step calls."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from tinv_ext.core.data.image_fit import SizeConditioning
from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.model import Tensors, Words
from tinv_ext.core.noise import NoiseSchedule
from tinv_ext.core.prompts.inputs import PromptInputs
from tinv_ext.core.prompts.reader import Prompt
from tinv_ext.hosts.checkpointing import gradient_checkpointing
from tinv_ext.hosts.cuda_graphs import Graphs
from tinv_ext.hosts.diffusers.pipelines import added_to_unet, parts_of, prediction_of, text_encoders, texts_of
from tinv_ext.hosts.loss_scale import LossScale
from tinv_ext.hosts.offloading import offloaded
from tinv_ext.hosts.prompt_vectors import ClipTokenTable, Condition, assemble_prompts, encode_prompts
from tinv_ext.hosts.vae import AllMasked, encode, encoder_digest


class PipelineModel:
    """Stable Diffusion of a pipeline, as `core.model.Model`. Use it inside `DiffusersHost.training` only.

    `undo` is closed when the training is left.
    """

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        token_table: ClipTokenTable,
        clip_skip: int,
        known: Words,
        undo: ExitStack | None = None,
        graphs: Graphs | None = None,
    ) -> None:
        self._undo = undo or ExitStack()
        self._pipeline = pipeline
        self._token_table = token_table
        self._encoders = text_encoders(pipeline, clip_skip)
        self._known = known
        self._all_masked = AllMasked(self.encode_images, pipeline.unet.config.in_channels)
        schedule = NoiseSchedule(pipeline.scheduler.alphas_cumprod.float(), prediction_of(pipeline))
        self.widths = token_table.widths
        self.tokenizer = token_table.tokenizer
        self.device = pipeline.unet.device
        self._dtype = pipeline.unet.dtype  # diffusers walks through all modules whenever it is asked
        self.noise = schedule.on(self.device)
        self._loss_scale = LossScale(self._dtype)
        self._graphs = graphs or Graphs((), None)

    @property
    def loss_scale(self) -> float:
        return self._loss_scale.value

    @cached_property
    def vae_digest(self) -> str:
        return encoder_digest(self._pipeline.vae, self._pipeline.vae.config.scaling_factor)

    def token_vectors(self, ids: Sequence[int]) -> dict[str, Tensor]:
        return self._token_table.token_vectors(ids)

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> LatentDistribution:
        vae = self._pipeline.vae
        return encode(vae, pixels.to(vae.device), vae.config.scaling_factor)

    def assemble_prompts(
        self, prompts: Sequence[Prompt], words: Words, size_conds: Sequence[SizeConditioning]
    ) -> PromptInputs:
        return assemble_prompts(prompts, words, size_conds, self._encoders, self.tokenizer, self._known)

    def encode(self, inputs: PromptInputs, words: Words) -> Condition:
        return encode_prompts(inputs, words, self._encoders, self._graphs.call)

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        noisy = self._all_masked.beside(noisy)
        context, added = condition.context.to(self._dtype), added_to_unet(condition) or {}
        names = tuple(added)

        def unet(noisy: Tensor, timesteps: Tensor, context: Tensor, *others: Tensor) -> Tensors:
            given = dict(zip(names, others)) if names else None
            answer = self._pipeline.unet(noisy, timesteps, context, added_cond_kwargs=given, return_dict=False)
            return (answer[0],)

        (prediction,) = self._graphs.call("unet", unet, (noisy.to(self._dtype), timesteps, context, *added.values()))
        return prediction

    def release_memory(self) -> None:
        self._graphs.save_memory()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def enable_gradient_checkpointing(self) -> None:
        self._graphs.renew()
        self._undo.enter_context(gradient_checkpointing(self._pipeline.unet))

    def offload_weights(self) -> bool:
        if self.device.type != "cuda":
            return False
        self._graphs.end()
        parts = (self._pipeline.unet, *texts_of(self._pipeline))
        return self._undo.enter_context(offloaded(parts, self.device))

    def upcast(self) -> str | None:
        self._graphs.renew()
        return self._loss_scale.upcast(self._to_float32)

    def _to_float32(self) -> None:
        self._dtype = torch.float32
        for part in parts_of(self._pipeline):
            self._undo.callback(part.to, next(part.parameters()).dtype)
            part.to(torch.float32)
