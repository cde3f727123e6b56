"""The safetensors container: eight bytes of length, a JSON header, the numbers.

Read and written here rather than by the library: its reader maps the whole file, its writer puts metadata in an order
that changes from run to run, and ours are to be bounded and the same byte for byte.
Source: the format's description, https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import torch
from torch import Tensor

from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats.bounded_json import parse_json_object
from tinv_ext.core.formats.tensors import MAX_DIMENSIONS, StoredTensor, bytes_of, size_of, tensor_of_bytes
from tinv_ext.core.messages import message

MAX_HEADER_BYTES = 1 << 23
READ_AT_ONCE = 1 << 23  # bytes of a file: embeddings are smaller, bundles and checkpoints larger
DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F64": torch.float64,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins with `head` (at least nine) has a header of a possible length."""
    return len(head) >= 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8


def read_safetensors(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors by name, each read from the file only when asked for, and the metadata. Raises FormatError.

    What a small file holds is kept; a larger one must be the same file still when a tensor is asked for, as another
    program may replace it meanwhile.
    """
    with open(path, "rb") as file:
        identity = _identity(file)
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, MAX_HEADER_BYTES):
            raise FormatError(
                message(
                    "formats.header_too_large",
                    "The safetensors header claims {count} bytes, too many. The file is truncated or damaged.",
                    count=length,
                )
            )
        header = parse_json_object(file.read(length), message("formats.json_header", "The safetensors header"))
        rest = file.read() if size <= READ_AT_ONCE else None
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError(
            message(
                "formats.metadata_no_text", "The metadata of the safetensors file is not text. The file is damaged."
            )
        )
    start = 8 + length

    def piece(offset: int, count: int) -> bytes | bytearray:
        if rest is not None:
            return rest[offset : offset + count]
        with open(path, "rb") as file:
            if _identity(file) != identity:
                raise FormatError(
                    message(
                        "formats.replaced_meanwhile",
                        "Another program replaced the file while it was being read. Read it again.",
                    )
                )
            file.seek(start + offset)
            numbers = bytearray(count)  # which the tensor keeps: none of it is there twice
            return numbers if file.readinto(numbers) == count else b""

    return {key: _stored(key, entry, size - start, piece) for key, entry in header.items()}, metadata


def _identity(file: BinaryIO) -> tuple[int, int, int]:
    """What tells a file from one that has taken its place."""
    about = os.fstat(file.fileno())
    return about.st_ino, about.st_size, about.st_mtime_ns


def _stored(key: str, entry: object, room: int, piece: Callable[[int, int], bytes | bytearray]) -> StoredTensor:
    """One tensor of the header, its offsets checked against the `room` behind that; `piece` gives bytes from there."""
    fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
    shape, offsets, dtype = fields.get("shape"), fields.get("data_offsets"), fields.get("dtype")
    if not (
        _are_counts(shape, MAX_DIMENSIONS) and _are_counts(offsets, 2) and len(offsets) == 2 and isinstance(dtype, str)
    ):
        raise FormatError(
            message(
                "formats.header_entry",
                'The safetensors header describes "{key}" wrongly. The file is damaged.',
                key=key[:80],
            )
        )
    begin, end = offsets
    if not begin <= end <= room:
        raise FormatError(
            message(
                "formats.tensor_beyond_end",
                'The tensor "{key}" lies beyond the end of the file. The file is truncated; download it again.',
                key=key[:80],
            )
        )

    def read() -> Tensor:
        _check_entry(key, shape, dtype, end - begin)  # before any byte of it is read
        return tensor_of_bytes(piece(begin, end - begin), DTYPES[dtype], tuple(shape))

    return StoredTensor(tuple(shape), read)


def _check_entry(key: str, shape: list[int], dtype: str, count: int) -> None:
    """Raise FormatError where a tensor's type is unknown, or its shape is not that of `count` bytes."""
    if dtype not in DTYPES:
        raise FormatError(
            message(
                "formats.tensor_dtype",
                'The tensor "{key}" has dtype {dtype}; embeddings are F32, F16, BF16 or F64.',
                key=key[:80],
                dtype=dtype[:20],
            )
        )
    if count != math.prod(shape) * size_of(DTYPES[dtype]):
        raise FormatError(
            message(
                "formats.entry_bytes",
                'The tensor "{key}" of shape {shape} has {count} bytes, which does not match. The file is damaged.',
                key=key[:80],
                shape=str(tuple(shape)),
                count=count,
            )
        )


def _are_counts(values: object, limit: int) -> TypeGuard[list[int]]:
    """Whether this is a list of at most `limit` counts."""
    return (
        isinstance(values, list)
        and len(values) <= limit
        and all(type(item) is int and 0 <= item < 1 << 50 for item in values)
    )


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file of tensors in the given order, metadata sorted, the numbers aligned to eight bytes."""
    header: dict[str, Any] = {"__metadata__": dict(sorted({**metadata, "format": "pt"}.items()))}
    parts, place = [], 0
    for key, tensor in tensors.items():
        part, kind = bytes_of(tensor), _NAMES[tensor.dtype]
        header[key] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [place, place + len(part)]}
        parts.append(part)
        place += len(part)
    coded = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    coded += b" " * (-len(coded) % 8)
    return b"".join([struct.pack("<Q", len(coded)), coded, *parts])
