"""numpy's numbers and arrays in a pickle, as plain numbers and StoredTensors: losses and steps of other trainers, and
the tensors of devices that torch pickles by way of numpy (DirectML)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats.tensors import StoredTensor, tensor_of_bytes
from tinv_ext.core.messages import message

TYPES = {
    "f4": torch.float32,
    "f8": torch.float64,
    "f2": torch.float16,
    "i8": torch.int64,
    "i4": torch.int32,
    "u1": torch.uint8,
    "b1": torch.bool,
}


@dataclass(frozen=True)
class NumpyType:
    """A dtype, by numpy's code."""

    code: str

    def checked(self, state: object) -> NumpyType:
        """Itself, if the state that a pickle gives it (version, byte order, …) says little-endian."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise FormatError(
                message(
                    "formats.numpy_byte_order",
                    "The file has numpy numbers in a byte order that cannot be read. Save it again on another machine.",
                )
            )
        return self


@dataclass(frozen=True)
class NumpyArray:
    """An array before its pickle gives it content."""

    def filled(self, state: object) -> StoredTensor:
        """The array of the state (version, shape, dtype, whether in Fortran's order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise TypeError
        _, shape, dtype, by_columns, data = state
        counts = isinstance(shape, tuple) and all(type(size) is int and 0 <= size < 1 << 40 for size in shape)
        if not (counts and isinstance(dtype, NumpyType) and isinstance(data, bytes) and not by_columns):
            raise FormatError(
                message(
                    "formats.numpy_array",
                    "The file has a numpy array that cannot be read. It is damaged or not an embedding.",
                )
            )
        return StoredTensor(shape, lambda: tensor_of_bytes(data, TYPES[dtype.code], shape))


def numpy_type(arguments: tuple[Any, ...]) -> NumpyType:
    """numpy.dtype(code, align, copy)."""
    code = arguments[0] if arguments else None
    if not isinstance(code, str) or code not in TYPES:
        raise FormatError(
            message("formats.numpy_dtype", "The file has a numpy dtype that no embedding needs. It is damaged.")
        )
    return NumpyType(code)


def numpy_scalar(arguments: tuple[Any, ...]) -> int | float | bool:
    """numpy.core.multiarray.scalar(dtype, bytes) as a plain number."""
    dtype, data = arguments
    if not isinstance(dtype, NumpyType) or not isinstance(data, bytes):
        raise TypeError
    numbers = np.frombuffer(data, np.dtype(dtype.code).newbyteorder("<"))
    if len(numbers) != 1:
        raise ValueError
    number: int | float | bool = numbers[0].item()
    return number
