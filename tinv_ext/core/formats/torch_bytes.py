"""Writing torch's legacy container ourselves: the same bytes for the same value on every torch and in every process.

torch.save's newer zip has records that the WebUI v1.10.1 refuses (`modules/safe.py`), and its legacy format names
storages by memory address. This writes the legacy format (five pickles of protocol 2, then the numbers) with storages
named "0", "1", …; it is read by every torch.load, with weights_only as well, and by the WebUI's safe unpickler.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tinv_ext.core.formats.tensors import bytes_of
from tinv_ext.core.formats.torch_read import LEGACY_MAGIC, LEGACY_VERSION

STORAGES = {torch.float32: "FloatStorage", torch.float16: "HalfStorage", torch.bfloat16: "BFloat16Storage"}
"""Each type's class of storage, which the WebUI's safe unpickler knows (v1.10.1 modules/safe.py)."""

MACHINE = {"protocol_version": LEGACY_VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def torch_bytes(value: Mapping[str, Any]) -> bytes:
    """`value` (text, numbers, None, lists, dicts, tensors of STORAGES) as torch.save's legacy format would hold it."""
    tensors: list[Tensor] = []
    body = _pickled(value, tensors)
    parts = [_pickled(LEGACY_MAGIC, []), _pickled(LEGACY_VERSION, []), _pickled(MACHINE, []), body]
    parts.append(_pickled([str(index) for index in range(len(tensors))], []))
    for tensor in tensors:
        parts += [struct.pack("<q", tensor.numel()), bytes_of(tensor)]
    return b"".join(parts)


def _pickled(value: Any, tensors: list[Tensor]) -> bytes:
    return b"\x80\x02" + _coded(value, tensors) + b"."


def _coded(value: Any, tensors: list[Tensor]) -> bytes:
    """One value in pickle's opcodes; tensors met on the way are added to `tensors`."""
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, str):
        coded = value.encode("utf-8", "surrogatepass")
        return b"X" + struct.pack("<I", len(coded)) + coded
    if isinstance(value, int):
        return _coded_integer(value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, Tensor):
        return _coded_tensor(value, tensors)
    if isinstance(value, Mapping):
        items = b"".join(_coded(key, tensors) + _coded(item, tensors) for key, item in value.items())
        return b"}(" + items + b"u"
    if isinstance(value, (list, tuple)):
        return b"](" + b"".join(_coded(item, tensors) for item in value) + b"e"
    raise TypeError(f"a {type(value).__name__} has no place in an embedding's file")


def _coded_integer(value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    coded = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(coded)]) + coded


def _coded_tensor(tensor: Tensor, tensors: list[Tensor]) -> bytes:
    """torch._utils._rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict()), each tensor its own storage."""
    assert tensor.is_contiguous()
    key = str(len(tensors))
    tensors.append(tensor)
    kind = _name("torch", STORAGES[tensor.dtype])
    storage = kind + _coded(key, []) + _coded("cpu", []) + _coded(tensor.numel(), []) + b"N"
    return (
        _name("torch._utils", "_rebuild_tensor_v2")
        + b"(("
        + _coded("storage", [])
        + storage
        + b"tQ"
        + _coded(0, [])
        + _coded_counts(tuple(tensor.shape))
        + _coded_counts(tensor.stride())
        + b"\x89"
        + _name("collections", "OrderedDict")
        + b")RtR"
    )


def _coded_counts(counts: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(_coded(count, []) for count in counts) + b"t"


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode("ascii")
