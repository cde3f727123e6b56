"""Numbers that are the same everywhere without being stored: a wave for each name."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from tinv_ext.core.formats.tensors import StoredTensor


def wave(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return float32 numbers that depend on the name: small for weights, near one for the scales of norms."""
    count = math.prod(shape)
    steps = torch.arange(count, dtype=torch.float64)
    start = zlib.crc32(name.encode()) % 10007
    values = torch.sin(steps * 0.7548776662 + start) * torch.cos(steps * 0.5698402910 + 3 * start)
    size = 1.0 if len(shape) < 2 else 1.5 / math.sqrt(math.prod(shape[1:]))
    norm = "norm" in name or "in_layers.0" in name or "out_layers.0" in name or ".out.0." in name
    shift = 1.0 if name.endswith(".weight") and len(shape) == 1 and norm else 0.0
    return (shift + values * size * (0.2 if len(shape) == 1 else 1.0)).to(torch.float32).reshape(shape)


def unfilled(shape: Sequence[int]) -> StoredTensor:
    """A tensor in a file that takes no memory when it is read: it has no numbers."""
    return StoredTensor(tuple(shape), lambda: torch.empty(tuple(shape), device="meta"))


# Of these outputs of the small models of tests/webui/small only one number in so many is kept.
KEPT = {"text": 7, "decoded": 97, "unet": 1, "encoded": 1, "pooled": 1}
SIZES = [[90.0, 120.0, 0.0, 11.0, 64.0, 64.0]]  # what SDXL is told of a picture
