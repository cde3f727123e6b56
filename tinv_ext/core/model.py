"""What training asks of Stable Diffusion, parted by who asks. A host provides it; the engine knows nothing else of it.

| protocol | asked by |
| --- | --- |
| `TokenTable` | the checks before a run, initial vectors, nearest tokens |
| `ImageEncoder` | the latent cache |
| `PromptEncoder`, `Denoiser` | the step and the evaluation |
| `MemoryControl` | the fallbacks |
| `Model` | the run, which hands it to all of these |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from .data.image_fit import SizeConditioning
from .data.latents import LatentDistribution
from .noise import Noise
from .prompts.inputs import PromptInputs
from .prompts.reader import Prompt, Tokenizer

Vectors = Mapping[str, Tensor]  # by encoder: {"clip_l": (n, 768)}
Words = Mapping[str, Vectors]  # by name
Tensors = tuple[Tensor, ...]
Condition = Any  # what `encode` gives and `denoise` takes; opaque to the engine


class TokenTable(Protocol):
    """What can be asked of a model without training it: its tokens and their vectors."""

    @property
    def widths(self) -> Mapping[str, int]:
        """Width of a token vector by encoder: SD1 {"clip_l": 768}, SD2 {"clip_h": 1024}, SDXL both of its own."""
        ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def token_vectors(self, ids: Sequence[int]) -> dict[str, Tensor]:
        """Rows of each encoder's token table, (len(ids), width) float32, detached copies."""
        ...


class ImageEncoder(Protocol):
    """The VAE's encoding half."""

    @property
    def vae_digest(self) -> str:
        """Says which VAE encodes, for the latent cache."""
        ...

    def encode_images(self, pixels: Tensor) -> LatentDistribution:
        """Latents (B, 4, H/8, W/8) of pixels (B, 3, H, W) in [-1, 1], scaled as the UNet expects them."""
        ...


class PromptEncoder(Protocol):
    """The text encoders, with words that stand for vectors."""

    @property
    def device(self) -> torch.device: ...

    def assemble_prompts(
        self, prompts: Sequence[Prompt], words: Words, size_conds: Sequence[SizeConditioning]
    ) -> PromptInputs:
        """Prompts as tensors on the CPU. Of `words` only names and shapes count; the model's embeddings are put in.

        `size_conds` has one for each prompt: only SDXL is told them.
        """
        ...

    def encode(self, inputs: PromptInputs, words: Words) -> Condition:
        """The condition of a batch of prompts; differentiable in the vectors of `words`, which are on the device."""
        ...


class Denoiser(PromptEncoder, Protocol):
    """The UNet and its noise schedule."""

    @property
    def noise(self) -> Noise: ...

    @property
    def loss_scale(self) -> float:
        """A power of two by which the loss is multiplied before backward, so that half-precision gradients live."""
        ...

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """The UNet's answer, (B, 4, h, w), to noisy latents of that shape at `timesteps` (B,) int64."""
        ...


class MemoryControl(Protocol):
    """What a model can give up so that a step fits, or comes out finite."""

    def release_memory(self) -> None:
        """Give memory that is only kept for later back to the device."""
        ...

    def enable_gradient_checkpointing(self) -> None:
        """From now on, keep fewer intermediate results for backward and compute them again instead."""
        ...

    def offload_weights(self) -> bool:
        """From now on, keep the weights in the machine's own memory and fetch each where it is used.

        Much slower, the same numbers. Whether that is possible, and frees memory of the device.
        """
        ...

    def upcast(self) -> str | None:
        """Compute more precisely from now on: what was done ("full precision"), or None if no more can be."""
        ...


class Trainable(Denoiser, MemoryControl, Protocol):
    """What the training loop works on."""


class Model(TokenTable, ImageEncoder, Trainable, Protocol):
    """Stable Diffusion as mathematics. Every weight of it is frozen while this object is in use."""
