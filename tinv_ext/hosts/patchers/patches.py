"""What would spoil gradients, taken out for a run: LoRA that the last image left, attention without a backward."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tinv_ext.core.messages import Message, message
from tinv_ext.hosts.patchers.backend import Attention, Backend

log = logging.getLogger(__name__)

_NO_LORA = str([])  # backend/diffusion_engine/base.py, current_lora_hash
_LEFT = ("forge_objects", "forge_objects_after_applying_lora", "current_lora_hash")
_TOLERANCE, _HALF_TOLERANCE = 1e-3, 3e-2  # relative
_TOKENS = (64, 77)  # queries and keys of the comparison
_results: dict[tuple[Any, ...], bool] = {}


@contextmanager
def without_patches(engine: Any) -> Iterator[None]:
    """The model as it was loaded: no LoRA, no patches of extensions. On exit the next image has them again.

    extensions-builtin/sd_forge_lora/networks.py: LoRA are merged when the patched objects are loaded, and taken out
    when the original ones are (backend/memory_management.py, load_models_gpu), which is for `session` to do.
    """
    before = {name: getattr(engine, name) for name in _LEFT}
    try:
        engine.forge_objects = engine.forge_objects_original.shallow_copy()
        engine.forge_objects_after_applying_lora = engine.forge_objects_original.shallow_copy()
        engine.current_lora_hash = _NO_LORA
        yield
    finally:
        for name, value in before.items():
            setattr(engine, name, value)


def lora_notes(engine: Any) -> list[Message]:
    """What becomes of the LoRA that the last image has left in the model, if it has."""
    if str(engine.current_lora_hash) == _NO_LORA:
        return []
    return [
        message(
            "hosts.loras_are_out_for_the_run",
            "The last image left LoRA in the model; they are out for the run, and in again at the next image.",
        )
    ]


def attention_name(backend: Backend) -> str:
    """The attention function that the program has chosen, as `pytorch`, `sub_quad`, `xformers`, `sage`."""
    return _name_of(backend.attention)


def _name_of(function: Attention) -> str:
    return str(getattr(function, "__name__", "?")).removeprefix("attention_")


@contextmanager
def differentiable_attention(backend: Backend, unet: torch.nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """While open, gradients through the UNet's attention are right: with PyTorch's where those of the chosen are not.

    SageAttention and FlashAttention of Forge Neo, reForge and Classic have no backward.
    """
    before = backend.attention
    try:
        if not _is_differentiable(before, unet, dtype, backend.device):
            log.warning('The attention "%s" gives wrong gradients; PyTorch\'s is used for the run.', _name_of(before))
            setattr(backend.layers, backend.name, backend.pytorch_attention)
        yield
    finally:
        setattr(backend.layers, backend.name, before)


def _is_differentiable(function: Attention, unet: torch.nn.Module, dtype: torch.dtype, device: torch.device) -> bool:
    layers: list[Any] = [module for module in unet.modules() if type(module).__name__ == "CrossAttention"]
    sizes = {(int(layer.heads), int(layer.to_q.out_features)) for layer in layers}
    for heads, width in sorted(sizes):
        key = (function, heads, width, dtype, str(device))
        if key not in _results:
            _results[key] = _agrees(function, heads, width, dtype, device)
        if not _results[key]:
            return False
    return True


def _agrees(function: Attention, heads: int, width: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the gradients in queries, keys and values are the plain formula's."""
    try:
        gradients = _gradients(function, heads, width, dtype, device)
    except (RuntimeError, NotImplementedError) as error:  # attention made for inference only
        log.info("The attention gives no gradient: %s", error)
        return False
    tolerance = _TOLERANCE if dtype == torch.float32 else _HALF_TOLERANCE
    for gradient, right in zip(gradients, _gradients(_plain, heads, width, torch.float32, device)):
        if not torch.isfinite(gradient).all() or float((gradient - right).norm()) > tolerance * float(right.norm()):
            return False
    return True


def _gradients(
    function: Attention, heads: int, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, ...]:
    rng = torch.Generator().manual_seed(0)
    queries, keys = _TOKENS
    shapes = ((1, queries, width), (1, keys, width), (1, keys, width))
    inputs = [torch.randn(shape, generator=rng).to(device, dtype).requires_grad_() for shape in shapes]
    weighting = torch.randn(1, queries, width, generator=rng).to(device, dtype)
    with torch.enable_grad():
        output = function(*inputs, heads, None)
        return tuple(part.float() for part in torch.autograd.grad(output, inputs, weighting))


def _plain(q: Tensor, k: Tensor, v: Tensor, heads: int, _: None) -> Tensor:
    q, k, v = (part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in (q, k, v))
    weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1)
    return (weights @ v).transpose(1, 2).flatten(-2)
