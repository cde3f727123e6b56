"""A tensor that still lies in a file: its shape is known and can be judged before anything is allocated for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tinv_ext.core.errors import FormatError
from tinv_ext.core.messages import message

MAX_ELEMENTS = 1 << 22
"""The largest tensor taken for an embedding: 16 MB as float32, far more than MAX_VECTORS of any encoder."""

MAX_DIMENSIONS = 8


@dataclass(frozen=True)
class StoredTensor:
    """`shape` as the file claims it; `read()` gives the numbers in their own type, or raises FormatError."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]


def size_of(dtype: torch.dtype) -> int:
    """Bytes of one number (`dtype.itemsize` is younger than some of the versions we run on)."""
    return torch.empty(0, dtype=dtype).element_size()


def load_tensor(stored: StoredTensor, key: str) -> Tensor:
    """The numbers as float32 of `stored.shape`; FormatError when it is too large to be part of an embedding."""
    return load_as_stored(stored, key).to(torch.float32).contiguous()


def load_as_stored(stored: StoredTensor, key: str) -> Tensor:
    """The same in the type that they have in the file."""
    if len(stored.shape) > MAX_DIMENSIONS or math.prod(stored.shape) > MAX_ELEMENTS:
        raise FormatError(
            message(
                "formats.tensor_too_large",
                'The tensor "{key}" has shape {shape}, too large for an embedding.',
                key=key[:80],
                shape=str(stored.shape[:MAX_DIMENSIONS]),
            )
        )
    return stored.read()


def tensor_of_bytes(data: bytes | bytearray | memoryview, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """Little-endian raw numbers as a tensor of its own memory; `data` must hold exactly as many as `shape` says.

    A bytearray becomes the tensor's memory.
    """
    expected = math.prod(shape) * size_of(dtype)
    if len(data) != expected:
        raise FormatError(
            message(
                "formats.tensor_bytes",
                "A tensor of shape {shape} should have {expected} bytes but has {actual}. The file is damaged.",
                shape=str(shape),
                expected=expected,
                actual=len(data),
            )
        )
    if not data:
        return torch.zeros(shape, dtype=dtype)
    own = data if isinstance(data, bytearray) else bytearray(data)
    return torch.frombuffer(own, dtype=torch.uint8).view(dtype).reshape(shape)


def bytes_of(tensor: Tensor) -> bytes:
    """The numbers of a tensor on the CPU, little-endian, as `tensor_of_bytes` reads them."""
    numbers = tensor.contiguous()
    if tensor.dtype == torch.bfloat16:  # which numpy does not know
        numbers = numbers.view(torch.int16)
    array = numbers.numpy()
    return bytes(array.astype(array.dtype.newbyteorder("<")).tobytes())
