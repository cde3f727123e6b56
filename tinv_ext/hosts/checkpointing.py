"""Trading time for memory in a UNet, whichever library it comes from."""

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
    """While open, the UNet keeps only what enters its blocks, and backward computes them again.

    The libraries' own switches are not used: ldm's wants gradients of the frozen weights, and that of diffusers works,
    in some versions, in training mode only.
    """
    blocks = [module for module in unet.modules() if type(module).__name__ in _BLOCKS]
    before = [module.__dict__.get("forward") for module in blocks]
    try:
        for module in blocks:
            module.forward = _twice(module.forward)
        yield
    finally:
        for module, own in zip(blocks, before):
            del module.__dict__["forward"]
            if own is not None:
                module.__dict__["forward"] = own


def _twice(forward: Callable[..., object]) -> Callable[..., object]:
    return partial(checkpoint, forward, use_reentrant=False, preserve_rng_state=False)
