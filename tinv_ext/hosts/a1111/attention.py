"""Attention that can be trained through: the WebUI's choice where its gradient is right, else another."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from modules import devices, sd_hijack
from modules.hypernetworks import hypernetwork
from torch import Tensor

log = logging.getLogger(__name__)
_LAYER = "CrossAttention"  # ldm/modules/attention.py and sgm/modules/attention.py
# What v1.10.1 modules/sd_hijack.py (undo_optimizations) and modules/sd_hijack_optimizations.py put in and out.
_PLACES = (
    ("ldm.modules.attention", "CrossAttention", "forward"),
    ("ldm.modules.diffusionmodules.model", "AttnBlock", "forward"),
    ("ldm.modules.diffusionmodules.model", "", "nonlinearity"),
    ("sgm.modules.attention", "CrossAttention", "forward"),
    ("sgm.modules.diffusionmodules.model", "AttnBlock", "forward"),
    ("sgm.modules.diffusionmodules.model", "", "nonlinearity"),
)
_OTHERS = ("sdp-no-mem", "sdp")  # of sd_hijack.optimizers, by name: exact, and with a backward in every torch
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}  # relative; half precision is given more
_HALF_TOLERANCE = 3e-2
_QUERIES = 64
_verdicts: dict[tuple[Any, ...], bool] = {}  # a probe costs two small backwards; a run enters training many times


@contextmanager
def differentiable(unet: torch.nn.Module) -> Iterator[str]:
    """While open, gradients through the UNet's attention are right. Gives the name of what is used; put back after."""
    owners = [(owner, name, getattr(owner, name)) for owner, name in _owners()]
    try:
        yield _choose(unet)
    finally:
        for owner, name, value in owners:
            setattr(owner, name, value)


def _owners() -> Iterator[tuple[Any, str]]:
    for module, owner, name in _PLACES:
        found = sys.modules.get(module)
        if found is not None:
            yield (getattr(found, owner) if owner else found), name


def _choose(unet: torch.nn.Module) -> str:
    chosen = getattr(sd_hijack.current_optimizer, "name", None) or "plain"
    layers = [module for module in unet.modules() if type(module).__name__ == _LAYER]
    if not layers or _sound(layers):
        return chosen
    for name in _OTHERS:
        other = next((item for item in sd_hijack.optimizers if item.name == name and item.is_available()), None)
        if other is None:
            continue
        other.apply()
        if _sound(layers):
            return _told(chosen, name)
    sd_hijack.undo_optimizations()
    return _told(chosen, "plain")


def _told(chosen: str, used: str) -> str:
    log.warning('Gradients through the attention "%s" are not right here; "%s" is used for the run.', chosen, used)
    return used


def _sound(layers: list[torch.nn.Module]) -> bool:
    """Whether the gradients of one self-attention and one cross-attention agree with the plain formula's."""
    crossing = next((layer for layer in layers if layer.to_k.in_features != layer.to_q.in_features), layers[-1])
    return all(_agrees(layer) for layer in dict.fromkeys((layers[0], crossing)))


def _agrees(layer: torch.nn.Module) -> bool:
    forward = type(layer).forward
    weight = layer.to_q.weight
    key = (forward, weight.dtype, weight.device, layer.to_q.in_features, layer.to_k.in_features, layer.heads)
    if key not in _verdicts:
        _verdicts[key] = _compare(forward, layer)
    return _verdicts[key]


def _compare(forward: Callable[..., Tensor], layer: torch.nn.Module) -> bool:
    try:
        found = _gradients(forward, layer)
    except RuntimeError as error:  # also NotImplementedError: attention made for generating only
        log.info("The attention gives no gradient: %s", error)
        return False
    tolerance = _TOLERANCE.get(layer.to_q.weight.dtype, _HALF_TOLERANCE)
    # the WebUI's own plain formula, under the name by which it puts it back
    for mine, right in zip(found, _gradients(hypernetwork.attention_CrossAttention_forward, layer)):
        norm = float(right.norm())
        if not torch.isfinite(mine).all() or float((mine - right).norm()) > tolerance * norm:
            return False
    return True


def _gradients(forward: Callable[..., Tensor], layer: torch.nn.Module) -> tuple[Tensor, ...]:
    """Gradients of a fixed weighting of the output in queries (1, 64, width) and context (1, 77, width), float32."""
    rng = torch.Generator().manual_seed(0)
    kind = {"device": layer.to_q.weight.device, "dtype": layer.to_q.weight.dtype}
    x = torch.randn(1, _QUERIES, layer.to_q.in_features, generator=rng).to(**kind).requires_grad_()
    context = torch.randn(1, 77, layer.to_k.in_features, generator=rng).to(**kind).requires_grad_()
    with torch.enable_grad():
        with devices.autocast():
            output = forward(layer, x, context=context)
        weighting = torch.randn(output.shape, generator=rng).to(output)
        return tuple(part.float() for part in torch.autograd.grad(output, (x, context), weighting))
