"""Frozen weights kept in the machine's own memory: each goes to the device where it is used, and no longer.

It is the last thing that a run gives up: the numbers stay the same bit for bit, but every step waits for the bus. Of a
frozen layer, backward needs nothing but the weight; so that is fetched again instead of being kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tinv_ext.core.training.fallbacks import is_out_of_memory

_LEAST = 2**18  # numbers; what is smaller is not worth the journey
Layer = nn.Linear | nn.Conv2d


@contextmanager
def offloaded(parts: Iterable[nn.Module], device: torch.device) -> Iterator[bool]:
    """While open, the large frozen weights of linear and convolution layers lie in the machine's memory.

    Layers compute on `device` as before. Afterwards the weights are there again, and the layers' functions their own.
    Gives whether there was any such weight on the device.
    """
    layers = [one for one in layers_of(parts) if not one.weight.requires_grad and one.weight.device.type == device.type]
    own_forwards = [layer.__dict__.get("forward") for layer in layers]
    done: list[Layer] = []
    try:
        for layer in layers:
            move_out(layer, device)
            done.append(layer)
        yield bool(layers)
    finally:
        for layer, own_forward in zip(done, own_forwards):
            del layer.__dict__["forward"]
            if own_forward is not None:
                layer.__dict__["forward"] = own_forward
        for layer in done:
            layer.weight.data = layer.weight.data.to(device)


@torch.no_grad()
def place_offloaded(parts: Iterable[nn.Module], device: torch.device) -> None:
    """Models of the CPU that are too large for `device`: all but those weights goes there, for good."""
    parts = list(parts)
    layers = layers_of(parts)
    for layer in layers:
        move_out(layer, device)
    out = {id(layer.weight) for layer in layers}
    for module in (module for part in parts for module in part.modules()):
        for weight in module.parameters(recurse=False):
            if id(weight) not in out:
                weight.data = weight.data.to(device)
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(device)


def layers_of(parts: Iterable[nn.Module]) -> list[Layer]:
    """Those with a large weight of their own; one that somebody has changed may have none.

    Without those whose function nobody calls: torch's attention, which OpenCLIP has, takes its last layer's weight.
    """
    modules = [module for part in parts for module in part.modules()]
    inside = {id(one.out_proj) for one in modules if isinstance(one, nn.MultiheadAttention)}
    layers = [one for one in modules if isinstance(one, (nn.Linear, nn.Conv2d)) and id(one) not in inside]
    weights = [layer._parameters.get("weight") for layer in layers]
    return [layer for layer, weight in zip(layers, weights) if weight is not None and weight.numel() >= _LEAST]


def move_out(layer: Layer, device: torch.device) -> None:
    """Have the layer fetch its weight for `device`, of which autograd keeps only from where to fetch it again."""
    layer.weight.data = _in_main_memory(layer.weight.data, device)
    forward = layer.forward

    def fetched() -> Tensor:
        home = layer._parameters["weight"]
        assert home is not None
        return home.detach().to(device, copy=True, non_blocking=True)

    def with_weight(*args: Any, **kwargs: Any) -> Any:
        weight, home = fetched(), layer._parameters["weight"]
        storage = weight.untyped_storage()._cdata  # which tensors without numbers have, too

        def pack(kept: Tensor) -> Any:
            if kept.untyped_storage()._cdata != storage:
                return kept
            return kept.shape, kept.stride(), kept.storage_offset()

        def unpack(kept: Any) -> Tensor:
            return kept if isinstance(kept, Tensor) else fetched().as_strided(*kept)

        layer._parameters["weight"] = weight  # type: ignore[assignment]
        try:
            with saved_tensors_hooks(pack, unpack):
                return forward(*args, **kwargs)
        finally:
            layer._parameters["weight"] = home

    layer.forward = with_weight  # type: ignore[method-assign]


def _in_main_memory(weight: Tensor, device: torch.device) -> Tensor:
    """Page-locked where CUDA is to fetch it, which is then several times as fast; or as the system has it."""
    try:
        here = torch.empty_like(weight, device="cpu", pin_memory=device.type == "cuda")
    except RuntimeError as error:  # Windows lets about half of the memory be locked
        if not is_out_of_memory(error):
            raise
        here = torch.empty_like(weight, device="cpu")
    return here.copy_(weight)
