"""Gradient checkpointing of a UNet from any library: less memory for a second forward pass, the same gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch.utils.checkpoint import checkpoint

# The blocks of ldm's and sgm's openaimodel.py, and of diffusers' UNet2DConditionModel.
_BLOCKS = ("TimestepEmbedSequential", "ResnetBlock2D", "Transformer2DModel")


@contextmanager
def gradient_checkpointing(unet: torch.nn.Module) -> Iterator[None]:
    """While open, forward keeps only the inputs of the UNet's blocks, and backward computes the blocks again.

    The libraries' own switches are not used: ldm's asks for gradients of the frozen weights, and diffusers' works, in
    some versions, in training mode only.
    """
    blocks = [module for module in unet.modules() if type(module).__name__ in _BLOCKS]
    own_forwards = [module.__dict__.get("forward") for module in blocks]
    try:
        for module in blocks:
            module.forward = _checkpointed(module.forward)
        yield
    finally:
        for module, own_forward in zip(blocks, own_forwards):
            del module.__dict__["forward"]
            if own_forward is not None:
                module.__dict__["forward"] = own_forward


def _checkpointed(forward: Callable[..., object]) -> Callable[..., object]:
    return partial(checkpoint, forward, use_reentrant=False, preserve_rng_state=False)
