"""What differs between the programs whose models lie in patchers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tinv_ext.core.noise import NoiseSchedule

Attention = Callable[..., Tensor]


@dataclass(frozen=True)
class Backend:
    """A program's memory manager, and where its UNet finds the attention function: by `name` in `layers`."""

    memory: Any  # load_models_gpu, current_loaded_models, free_memory, soft_empty_cache, get_torch_device
    layers: Any
    name: str
    pytorch_attention: Attention
    cuda_graphs: bool  # whether they may be used

    @property
    def device(self) -> torch.device:
        return torch.device(self.memory.get_torch_device())

    @property
    def attention(self) -> Attention:
        """The function that the UNet calls now."""
        chosen: Attention = getattr(self.layers, self.name)
        return chosen


@dataclass(frozen=True)
class Numbers:
    """What a program says of its loaded model, beside the weights."""

    noise: NoiseSchedule
    latent_scale: float
    embed_size: Callable[[Tensor], Tensor]  # SDXL: one number of the size conditioning (B,) to (B, d)
    dtype: Callable[[], torch.dtype]  # in which the UNet computes; its layers cast their weights to it
    in_float32: Callable[[], AbstractContextManager[None]]  # the UNet computing in float32 while open
