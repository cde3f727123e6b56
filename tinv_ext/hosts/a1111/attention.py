"""Attention to train through: the WebUI's chosen optimization where its gradients are right, otherwise another."""

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
# What v1.10.1 modules/sd_hijack.py (undo_optimizations) and modules/sd_hijack_optimizations.py patch:
# module, class, name.
_PATCHED = (
    ("ldm.modules.attention", "CrossAttention", "forward"),
    ("ldm.modules.diffusionmodules.model", "AttnBlock", "forward"),
    ("ldm.modules.diffusionmodules.model", "", "nonlinearity"),
    ("sgm.modules.attention", "CrossAttention", "forward"),
    ("sgm.modules.diffusionmodules.model", "AttnBlock", "forward"),
    ("sgm.modules.diffusionmodules.model", "", "nonlinearity"),
)
_ALTERNATIVES = ("sdp-no-mem", "sdp")  # in sd_hijack.optimizers, by name: exact, with a backward in every torch
_PLAIN = "plain"
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}  # relative
_HALF_TOLERANCE = 3e-2
_QUERIES = 64
_results: dict[tuple[Any, ...], bool] = {}  # a probe costs two small backwards, and a run enters training many times


@contextmanager
def differentiable(unet: torch.nn.Module) -> Iterator[str]:
    """While open, gradients through the UNet's attention are right. Yields the name of the optimization in use."""
    before = [(owner, name, getattr(owner, name)) for owner, name in _patched()]
    try:
        yield _choose(unet)
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def chosen() -> str:
    """The name of the optimization that is chosen in the WebUI."""
    return getattr(sd_hijack.current_optimizer, "name", None) or _PLAIN


def _patched() -> Iterator[tuple[Any, str]]:
    for module_name, class_name, name in _PATCHED:
        module = sys.modules.get(module_name)
        if module is not None:
            yield (getattr(module, class_name) if class_name else module), name


def _choose(unet: torch.nn.Module) -> str:
    current = chosen()
    layers = [module for module in unet.modules() if type(module).__name__ == _LAYER]
    if not layers or _differentiable(layers):
        return current
    for name in _ALTERNATIVES:
        optimizer = next((item for item in sd_hijack.optimizers if item.name == name and item.is_available()), None)
        if optimizer is None:
            continue
        optimizer.apply()
        if _differentiable(layers):
            return _replaced(current, name)
    sd_hijack.undo_optimizations()
    return _replaced(current, _PLAIN)


def _replaced(unsuitable: str, name: str) -> str:
    log.warning('The attention optimization "%s" gives wrong gradients; "%s" is used for the run.', unsuitable, name)
    return name


def _differentiable(layers: list[torch.nn.Module]) -> bool:
    """Whether the gradients of one self-attention and one cross-attention layer agree with the plain formula's."""
    cross = next((layer for layer in layers if _width(layer, "to_k") != _width(layer, "to_q")), layers[-1])
    return all(_agrees(layer) for layer in dict.fromkeys((layers[0], cross)))


def _width(layer: Any, projection: str) -> int:
    return int(getattr(layer, projection).in_features)


def _agrees(layer: Any) -> bool:
    forward = type(layer).forward
    weight = layer.to_q.weight
    key = (forward, weight.dtype, weight.device, layer.to_q.in_features, layer.to_k.in_features, layer.heads)
    if key not in _results:
        _results[key] = _compare(forward, layer)
    return _results[key]


def _compare(forward: Callable[..., Tensor], layer: Any) -> bool:
    try:
        gradients = _gradients(forward, layer)
    except RuntimeError as error:  # also NotImplementedError: attention made for inference only
        log.info("The attention gives no gradient: %s", error)
        return False
    tolerance = _TOLERANCE.get(layer.to_q.weight.dtype, _HALF_TOLERANCE)
    # the WebUI's own plain formula, under the name by which it puts it back
    for gradient, right in zip(gradients, _gradients(hypernetwork.attention_CrossAttention_forward, layer)):
        norm = float(right.norm())
        if not torch.isfinite(gradient).all() or float((gradient - right).norm()) > tolerance * norm:
            return False
    return True


def _gradients(forward: Callable[..., Tensor], layer: Any) -> tuple[Tensor, ...]:
    """Gradients of a fixed weighting of the output in queries (1, 64, width) and context (1, 77, width), float32."""
    rng = torch.Generator().manual_seed(0)
    like = {"device": layer.to_q.weight.device, "dtype": layer.to_q.weight.dtype}
    x = torch.randn(1, _QUERIES, layer.to_q.in_features, generator=rng).to(**like).requires_grad_()
    context = torch.randn(1, 77, layer.to_k.in_features, generator=rng).to(**like).requires_grad_()
    with torch.enable_grad():
        with devices.autocast():
            output = forward(layer, x, context=context)
        weighting = torch.randn(output.shape, generator=rng).to(output)
        return tuple(part.float() for part in torch.autograd.grad(output, (x, context), weighting))
