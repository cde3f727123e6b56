"""The loaded model made ready for training, and everything restored on any exit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from backend import memory_management

from tinv_ext.hosts.forge.encoders import tables_of, text_engines
from tinv_ext.hosts.forge.patches import differentiable_attention, without_patches
from tinv_ext.hosts.forge.weights import frozen, in_float32, out_of_place


class ModelParts:
    """UNet, text encoders and VAE of a session, loaded onto the device by the program's own memory manager."""

    def __init__(self, engine: Any, freeze: Callable[[], None]) -> None:
        objects = engine.forge_objects
        self.k_model = objects.unet.model
        self.unet: torch.nn.Module = self.k_model.diffusion_model
        self.vae: Any = objects.vae.first_stage_model
        self._to_train = [objects.clip.patcher, objects.unet]
        self._to_encode = [objects.vae.patcher]
        self._loaded: list[Any] = []
        self._freeze = freeze

    def load_for_training(self) -> None:
        """Text encoders and UNet onto the device, with no LoRA in them."""
        self._load(self._to_train)

    def load_vae(self) -> None:
        """The VAE onto the device; what is in its way goes to the CPU."""
        self._load(self._to_encode)

    def _load(self, patchers: list[Any]) -> None:
        if self._loaded is not patchers:
            memory_management.load_models_gpu(patchers)
            self._freeze()
            self._loaded = patchers

    def forget(self) -> None:
        """After an image, whatever it has moved, cast or unloaded is looked at again before the next step."""
        self._loaded = []


@contextmanager
def session(engine: Any) -> Iterator[ModelParts]:
    """UNet and text encoders on the device, frozen, with the checkpoint's own weights."""
    try:
        with ExitStack() as stack:
            stack.enter_context(without_patches(engine))
            objects = engine.forge_objects
            k_model = objects.unet.model
            modules = (k_model, objects.clip.cond_stage_model, objects.vae.first_stage_model)
            parts = ModelParts(engine, stack.enter_context(frozen(*modules)))
            parts.load_for_training()
            stack.enter_context(in_float32(*tables_of(text_engines(engine))))
            stack.enter_context(out_of_place(parts.unet))
            device = memory_management.get_torch_device()
            stack.enter_context(differentiable_attention(parts.unet, k_model.computation_dtype, device))
            yield parts
    finally:
        memory_management.soft_empty_cache()
