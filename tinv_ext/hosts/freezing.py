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
