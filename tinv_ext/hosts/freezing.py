"""Freezing a model for training: only the vectors are trained, never its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def frozen(*modules: torch.nn.Module) -> Iterator[None]:
    """While open, no weight requires a gradient and every submodule is in evaluation mode; all is restored on exit.

    `training` is set by hand: ldm turns `train()` of its text encoder and VAE into a no-op (`disabled_train`).
    """
    requires_grad = [(weight, weight.requires_grad) for module in modules for weight in module.parameters()]
    modes = [(submodule, submodule.training) for module in modules for submodule in module.modules()]
    try:
        for weight, _ in requires_grad:
            weight.requires_grad_(False)
        for submodule, _ in modes:
            submodule.training = False
        yield
    finally:
        for weight, flag in requires_grad:
            weight.requires_grad_(flag)
        for submodule, mode in modes:
            submodule.training = mode


@contextmanager
def weights_in_float32(*modules: torch.nn.Module) -> Iterator[None]:
    """The modules' weights and buffers in float32; on exit in the types from before, exactly: they are frozen."""
    dtypes = [(weight, weight.dtype) for module in modules for weight in (*module.parameters(), *module.buffers())]
    try:
        for weight, dtype in dtypes:
            if dtype.is_floating_point:
                weight.data = weight.data.float()
        yield
    finally:
        for weight, dtype in dtypes:
            weight.data = weight.data.to(dtype)
