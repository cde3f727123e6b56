"""The loaded model made ready for training, and everything restored on any exit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from tinv_ext.hosts.cuda_graphs import graphs_of
from tinv_ext.hosts.patchers.backend import Backend
from tinv_ext.hosts.patchers.patches import differentiable_attention, without_patches
from tinv_ext.hosts.patchers.weights import frozen, in_float32, out_of_place

_ALL = 1e30  # bytes: as Forge's `free_memory` itself asks for all


class ModelParts:
    """UNet, text encoders and VAE of a session, loaded onto the device by the program's own memory manager."""

    def __init__(self, objects: Any, backend: Backend, freeze: Callable[[], None], undo: ExitStack) -> None:
        self.backend = backend
        self.unet: torch.nn.Module = objects.unet.model.diffusion_model
        self.vae: Any = objects.vae.first_stage_model
        self._to_train = [objects.clip.patcher, objects.unet]
        self._to_encode = [objects.vae.patcher]
        self._loaded: list[Any] = []
        self._freeze = freeze
        self.graphs = graphs_of(backend.device, (self.unet, objects.clip.cond_stage_model), undo, backend.cuda_graphs)

    def load_for_training(self) -> None:
        """Text encoders and UNet onto the device, with no LoRA in them."""
        self._load(self._to_train)

    def load_vae(self) -> None:
        """The VAE onto the device; what is in its way goes to the CPU."""
        self.graphs.clear()
        self._load(self._to_encode)

    def _load(self, patchers: list[Any]) -> None:
        if self._loaded is not patchers:
            self.backend.memory.load_models_gpu(patchers)
            self._freeze()
            self._loaded = patchers

    def make_room(self) -> None:
        """Before an image: the program's memory manager takes for free what graphs keep."""
        self.graphs.clear()

    def unload_others(self) -> None:
        """Whatever else the program keeps on the device, such as the VAE or a ControlNet, goes to the CPU."""
        memory = self.backend.memory
        own = [one for one in memory.current_loaded_models if any(one.model is patcher for patcher in self._loaded)]
        memory.free_memory(_ALL, self.backend.device, keep_loaded=own)
        memory.soft_empty_cache()
        self.forget()

    def forget(self) -> None:
        """Whatever an image, or the memory manager, has moved, cast or unloaded is looked at again before a step."""
        self._loaded = []


@contextmanager
def session(
    sd_model: Any, backend: Backend, dtype: torch.dtype, tables: Sequence[torch.nn.Module]
) -> Iterator[ModelParts]:
    """UNet and text encoders on the device, frozen, with the checkpoint's own weights.

    `dtype` is the UNet's when it computes; `tables` are those of tokens and positions of all text encoders.
    """
    try:
        with ExitStack() as stack:
            stack.enter_context(without_patches(sd_model))
            objects = sd_model.forge_objects
            modules = (objects.unet.model, objects.clip.cond_stage_model, objects.vae.first_stage_model)
            parts = ModelParts(objects, backend, stack.enter_context(frozen(*modules)), stack)
            parts.load_for_training()
            stack.enter_context(in_float32(*tables))
            stack.enter_context(out_of_place(parts.unet))
            stack.enter_context(differentiable_attention(backend, parts.unet, dtype))
            yield parts
    finally:
        backend.memory.soft_empty_cache()
