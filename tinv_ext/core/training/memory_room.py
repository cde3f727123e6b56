"""How many batches of a step there is memory for at once, from what the first step of a run has needed.

Nobody is asked to estimate: the first step goes batch by batch, and what it needed is compared with what is free. Only
CUDA tells both; elsewhere nothing is measured.
"""

from __future__ import annotations

import torch

_SHARE = 0.8  # of the free memory; previews and other programs want some, too


def begin_measuring(device: torch.device) -> int | None:
    """Bytes that tensors take before a step, whose peak is measured from here on; None where nobody counts."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    return int(torch.cuda.memory_allocated(device))


def batches_that_fit(device: torch.device, before: int) -> int:
    """How many batches at once fit, as one of them has needed what was allocated beyond `before` at the peak."""
    # by its number: before torch 2.5 there was no answer for "cuda" alone, as the WebUI calls its device
    free, _ = torch.cuda.mem_get_info(torch.cuda.current_device() if device.index is None else device.index)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return at_once(torch.cuda.max_memory_allocated(device) - before, free + cached)


def at_once(needed: int, free: int) -> int:
    """Batches that each need so many bytes, in `_SHARE` of those that are free; at least one."""
    return max(1, int(_SHARE * free) // max(1, needed))
