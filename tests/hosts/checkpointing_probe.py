"""How much a forward pass keeps for backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

BLOCKS = ("TimestepEmbedSequential", "ResnetBlock2D", "Transformer2DModel")


def kept_bytes(unet: torch.nn.Module, act: Callable[[], Any]) -> tuple[int, Any]:
    """Bytes of the tensors that autograd keeps while `act` runs, and what it gives.

    What enters a block counts as kept, too, since it is computed again from there; the weights do not.
    """
    weights = {weight.untyped_storage().data_ptr() for weight in unet.parameters()}
    kept: dict[int, Tensor] = {}  # the tensors, so that no other gets their place meanwhile

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    def entered(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        for argument in arguments:
            if isinstance(argument, Tensor):
                keep(argument)

    blocks = [module for module in unet.modules() if type(module).__name__ in BLOCKS]
    hooks = [block.register_forward_pre_hook(entered) for block in blocks]
    try:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            given = act()
    finally:
        for hook in hooks:
            hook.remove()
    return sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in weights), given


def own_forwards(unet: torch.nn.Module) -> dict[str, Any]:
    """Forward functions that stand on a module itself, not on its class."""
    return {name: module.__dict__["forward"] for name, module in unet.named_modules() if "forward" in module.__dict__}
