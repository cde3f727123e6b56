"""A model in patchers as `core.model.Model`: its UNet is called itself, its text encoders are transformers'."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property

import torch
from torch import Tensor

from tinv_ext.core.data.image_fit import SizeConditioning
from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.model import Tensors, Words
from tinv_ext.core.prompts.inputs import PromptInputs
from tinv_ext.core.prompts.reader import Prompt
from tinv_ext.hosts.checkpointing import gradient_checkpointing
from tinv_ext.hosts.loss_scale import LossScale
from tinv_ext.hosts.patchers.backend import Numbers
from tinv_ext.hosts.patchers.session import ModelParts
from tinv_ext.hosts.prompt_vectors import (
    ClipTokenTable,
    Condition,
    TextEncoder,
    assemble_prompts,
    encode_prompts,
)
from tinv_ext.hosts.vae import AllMasked, encode, encoder_digest, input_channels


class PatcherModel:
    """The loaded model, inside its host's `training` only.

    Precision is the program's own: its layers cast their weights to the type of what they are given.
    """

    def __init__(
        self,
        parts: ModelParts,
        numbers: Numbers,
        token_table: ClipTokenTable,
        encoders: Sequence[TextEncoder],
        known: Words,
        undo: ExitStack,
    ) -> None:
        self._undo = undo  # closed when the training is left
        self._parts = parts
        self._numbers = numbers
        self._token_table = token_table
        self._encoders = encoders
        self._known = known
        self._all_masked = AllMasked(self.encode_images, input_channels(parts.unet))
        self.widths = token_table.widths
        self.tokenizer = token_table.tokenizer
        self.device = parts.backend.device
        self.noise = numbers.noise.on(self.device)
        self._loss_scale = LossScale(numbers.dtype())
        self._graphs = parts.graphs

    @property
    def loss_scale(self) -> float:
        return self._loss_scale.value

    @cached_property
    def vae_digest(self) -> str:
        return encoder_digest(self._parts.vae, self._numbers.latent_scale)

    def token_vectors(self, ids: Sequence[int]) -> dict[str, Tensor]:
        return self._token_table.token_vectors(ids)

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> LatentDistribution:
        self._parts.load_vae()
        return encode(self._parts.vae, pixels.to(self.device), self._numbers.latent_scale)

    def assemble_prompts(
        self, prompts: Sequence[Prompt], words: Words, size_conds: Sequence[SizeConditioning]
    ) -> PromptInputs:
        return assemble_prompts(prompts, words, size_conds, self._encoders, self.tokenizer, self._known)

    def encode(self, inputs: PromptInputs, words: Words) -> Condition:
        self._parts.load_for_training()
        return encode_prompts(inputs, words, self._encoders, self._graphs.call)

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        # Not by apply_model of what is around the UNet: it takes sigmas and answers with the denoised image.
        dtype = self._numbers.dtype()
        noisy = self._all_masked.beside(noisy)
        self._parts.load_for_training()
        vector = self._vector(condition)
        others = () if vector is None else (vector.to(dtype),)
        given = (noisy.to(dtype), timesteps.float(), condition.context.to(dtype), *others)
        (prediction,) = self._graphs.call("unet", self._apply, given)
        return prediction

    def _apply(self, noisy: Tensor, timesteps: Tensor, context: Tensor, *others: Tensor) -> Tensors:
        vector = others[0] if others else None
        return (self._parts.unet(noisy, timesteps, context=context, y=vector, transformer_options={}),)

    def _vector(self, condition: Condition) -> Tensor | None:
        """Pooled text and size conditioning as one vector (B, adm), as SDXL's UNet takes it."""
        if condition.pooled is None:
            return None
        assert condition.sizes is not None
        sizes = [self._numbers.embed_size(size).to(condition.pooled) for size in condition.sizes.unbind(1)]
        return torch.cat([condition.pooled, *sizes], 1)

    def release_memory(self) -> None:
        self._graphs.save_memory()
        self._parts.unload_others()

    def enable_gradient_checkpointing(self) -> None:
        self._graphs.renew()
        self._undo.enter_context(gradient_checkpointing(self._parts.unet))

    def offload_weights(self) -> bool:
        return False  # the program's own memory manager does that

    def upcast(self) -> str | None:
        self._graphs.renew()
        return self._loss_scale.upcast(lambda: self._undo.enter_context(self._numbers.in_float32()))
