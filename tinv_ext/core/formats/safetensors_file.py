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
from tinv_ext.core.formats.json_tables import table_of
from tinv_ext.core.formats.tensors import MAX_DIMENSIONS, StoredTensor, size_of, tensor_of_bytes

MAX_HEADER_BYTES = 1 << 23
SMALL = 1 << 23  # bytes of a file that is read at once: embeddings are smaller, bundles and checkpoints larger
DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F64": torch.float64,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
}


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins with `head` (at least nine) has a header of a possible length."""
    return len(head) >= 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8


def read_safetensors(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors by name, each read from the file only when asked for, and the metadata. Raises FormatError.

    What a small file holds is kept; a larger one must be the same file still when a tensor is asked for, as another
    program may replace it meanwhile.
    """
    with open(path, "rb") as file:
        mark = _mark(file)
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, MAX_HEADER_BYTES):
            raise FormatError(
                f"The safetensors header claims {length} bytes: too large, the file is cut off or damaged."
            )
        header = table_of(file.read(length), "The safetensors header")
        rest = file.read() if size <= SMALL else None
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError("The metadata of the safetensors file are not texts: the file is damaged.")
    start = 8 + length

    def piece(place: int, count: int) -> bytes:
        if rest is not None:
            return rest[place : place + count]
        with open(path, "rb") as file:
            if _mark(file) != mark:
                raise FormatError("Another program has replaced the file while it was read: read it again.")
            file.seek(start + place)
            return file.read(count)

    return {key: _stored(key, entry, size - start, piece) for key, entry in header.items()}, metadata


def _mark(file: BinaryIO) -> tuple[int, int, int]:
    """What tells a file from one that has taken its place."""
    about = os.fstat(file.fileno())
    return about.st_ino, about.st_size, about.st_mtime_ns


def _stored(key: str, entry: object, room: int, piece: Callable[[int, int], bytes]) -> StoredTensor:
    """One tensor of the header, its place checked against the `room` behind that; `piece` gives bytes from there."""
    fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
    shape, offsets, kind = fields.get("shape"), fields.get("data_offsets"), fields.get("dtype")
    if not (
        _are_counts(shape, MAX_DIMENSIONS) and _are_counts(offsets, 2) and len(offsets) == 2 and isinstance(kind, str)
    ):
        raise FormatError(f"The safetensors header describes '{key[:80]}' wrongly: the file is damaged.")
    begin, end = offsets
    if not begin <= end <= room:
        raise FormatError(f"The tensor '{key[:80]}' lies beyond the end of the file: it is cut off, fetch it again.")

    def read() -> Tensor:
        if kind not in DTYPES:
            raise FormatError(
                f"The tensor '{key[:80]}' is of the type {kind[:20]}: embeddings are F32, F16, BF16 or F64."
            )
        if end - begin != math.prod(shape) * size_of(DTYPES[kind]):
            raise FormatError(
                f"The tensor '{key[:80]}' of shape {tuple(shape)} has {end - begin} bytes: the file is damaged."
            )
        return tensor_of_bytes(piece(begin, end - begin), DTYPES[kind], tuple(shape))

    return StoredTensor(tuple(shape), read)


def _are_counts(values: object, limit: int) -> TypeGuard[list[int]]:
    """Whether this is a list of at most `limit` counts."""
    return (
        isinstance(values, list)
        and len(values) <= limit
        and all(type(item) is int and 0 <= item < 1 << 50 for item in values)
    )


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file of float32 tensors in the given order, metadata sorted, the numbers aligned to eight bytes."""
    header: dict[str, Any] = {"__metadata__": dict(sorted({**metadata, "format": "pt"}.items()))}
    parts, place = [], 0
    for key, tensor in tensors.items():
        part = tensor.to(torch.float32).contiguous().numpy().astype("<f4").tobytes()
        header[key] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [place, place + len(part)]}
        parts.append(part)
        place += len(part)
    coded = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    coded += b" " * (-len(coded) % 8)
    return b"".join([struct.pack("<Q", len(coded)), coded, *parts])
