"""The closed table of names that a pickle of an embedding may use, and what stands for each of them.

Nothing here is the real thing of that name: a name stands for an inert `Symbol`, calling it makes a plain value, a
list of numbers' whereabouts (`StoredTensor`) or a `Built`, and that is all a file can bring about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats.pickle_numpy import NumpyArray, NumpyType, numpy_scalar, numpy_type
from tinv_ext.core.formats.tensors import MAX_DIMENSIONS, StoredTensor, size_of, tensor_of_bytes
from tinv_ext.core.messages import message

Call = Callable[[tuple[Any, ...]], Any]


@dataclass(frozen=True)
class Symbol:
    """A name that the table knows: a storage type when `dtype` is set, callable when `call` is."""

    name: str
    dtype: torch.dtype | None = None
    call: Call | None = None


@dataclass
class Built:
    """An object of a class in the table (a ParameterDict) as its state, never as the object itself."""

    name: str
    state: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """`count` numbers of one type in a file; `read()` gives their bytes, little-endian."""

    dtype: torch.dtype
    count: int
    read: Callable[[], bytes | memoryview]

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.count * size_of(self.dtype)


def symbol(module: str, name: str) -> Symbol:
    """The table's entry, or a FormatError that tells which name the file wanted."""
    known = NAMES.get((module, name))
    if known is None:
        raise FormatError(
            message(
                "formats.pickle_name",
                "The file asks for {name}, which no embedding needs. It may be malicious or not an embedding at all; "
                "nothing in it was run. Do not load it elsewhere.",
                name=f"{module[:80]}.{name[:80]}",
            )
        )
    return known


def call(function: object, arguments: object) -> Any:
    """What `function(*arguments)` stands for; FormatError or TypeError when it is nothing we know."""
    if not isinstance(function, Symbol) or function.call is None or not isinstance(arguments, tuple):
        raise FormatError(
            message(
                "formats.pickle_call",
                "The pickle calls something that cannot be called. The file is damaged or malicious; nothing in it "
                "was run.",
            )
        )
    return function.call(arguments)


def build(target: object, state: object) -> Any:
    """What remains when an object gets its state: only a Built keeps one, attributes of other values are of no use."""
    if isinstance(target, NumpyType):
        return target.checked(state)
    if isinstance(target, NumpyArray):
        return target.filled(state)
    if isinstance(target, Built) and isinstance(state, dict):
        target.state.update(state)
        return target
    if isinstance(target, dict) and isinstance(state, dict):
        return target  # an OrderedDict with attributes, as state_dict() makes them (`_metadata`)
    raise TypeError


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if not arguments:
        return {}
    (pairs,) = arguments
    if not all(isinstance(key, (str, int)) for key, _ in pairs):
        raise TypeError
    return dict(pairs)


def _set(arguments: tuple[Any, ...]) -> list[Any]:
    return list(arguments[0]) if arguments else []


def _encode(arguments: tuple[Any, ...]) -> bytes:
    text, encoding = arguments
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise TypeError
    return text.encode("latin-1")


def _parameter(arguments: tuple[Any, ...]) -> StoredTensor:
    """A tensor wrapped in something: a Parameter, or one from a device that torch pickles by way of numpy."""
    tensor = arguments[0]
    if not isinstance(tensor, StoredTensor):
        raise TypeError
    return tensor


def _tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])."""
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise TypeError
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS or not all(_is_count(number) for number in numbers):
        raise FormatError(
            message("formats.impossible_shape", "A tensor in the file has an impossible shape. The file is damaged.")
        )
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if 0 not in shape and last >= storage.count:
        raise FormatError(
            message(
                "formats.beyond_storage",
                "A tensor of shape {shape} reaches beyond its {count:number|numbers}. The file is damaged.",
                shape=str(shape),
                count=storage.count,
            )
        )
    return StoredTensor(shape, lambda: _strided(storage, offset, shape, strides))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 40


def _strided(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
    if 0 in shape:
        return torch.zeros(shape, dtype=storage.dtype)
    flat = tensor_of_bytes(storage.read(), storage.dtype, (storage.count,))
    return flat.as_strided(shape, strides, offset).clone()


def persistent_value(saved: object, read: Callable[[str, int], bytes | memoryview]) -> Storage | Symbol:
    """What torch's persistent id stands for; `read(key, bytes)` fetches the numbers of a storage.

    It is ('storage', type, key, location, count[, view]), or in legacy files ('module', class, source file, source)
    beside a class, of which only the class counts.
    """
    if isinstance(saved, tuple) and len(saved) == 4 and saved[0] == "module" and isinstance(saved[1], Symbol):
        return saved[1]
    if not isinstance(saved, tuple) or len(saved) not in (5, 6) or saved[0] != "storage":
        raise FormatError(
            message(
                "formats.no_storage",
                "The pickle refers to something other than a tensor's storage. The file is damaged.",
            )
        )
    _, storage_type, key, _, count = saved[:5]
    known = isinstance(storage_type, Symbol) and storage_type.dtype is not None
    if not known or not isinstance(key, str) or not _is_count(count):
        raise FormatError(
            message("formats.bad_storage", "The storage of a tensor is described wrongly. The file is damaged.")
        )
    if len(saved) == 6 and saved[5] is not None:
        raise FormatError(
            message(
                "formats.old_torch",
                "The file was saved by torch before 0.4. Load it there and save it with a newer version.",
            )
        )
    size = count * size_of(storage_type.dtype)
    return Storage(storage_type.dtype, count, lambda: read(key, size))


def _known() -> dict[tuple[str, str], Symbol]:
    table = {
        ("collections", "OrderedDict"): Symbol("OrderedDict", call=_ordered_dict),
        ("collections", "Counter"): Symbol("Counter", call=_ordered_dict),  # of a learning rate's schedule
        ("torch", "device"): Symbol("device", call=lambda arguments: ":".join(map(str, arguments))),
        ("torch._utils", "_rebuild_tensor_v2"): Symbol("tensor", call=_tensor),
        ("torch._utils", "_rebuild_parameter"): Symbol("parameter", call=_parameter),
        ("torch.nn.modules.container", "ParameterDict"): Symbol("ParameterDict"),
        ("torch._utils", "_rebuild_device_tensor_from_numpy"): Symbol("tensor", call=_parameter),
        ("numpy", "dtype"): Symbol("dtype", call=numpy_type),
        ("numpy", "ndarray"): Symbol("ndarray"),
        ("torch", "Size"): Symbol("Size", call=lambda arguments: tuple(arguments[0])),
        ("_codecs", "encode"): Symbol("encode", call=_encode),
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        table[(module, "scalar")] = Symbol("scalar", call=numpy_scalar)
        table[(module, "_reconstruct")] = Symbol("_reconstruct", call=lambda arguments: NumpyArray())
    table.update({(module, "set"): Symbol("set", call=_set) for module in ("__builtin__", "builtins")})
    table.update({("torch", f"{kind}Storage"): Symbol(f"{kind}Storage", dtype) for kind, dtype in STORAGES.items()})
    table.update({("torch", name): Symbol(name) for name in ("float32", "float16", "bfloat16", "float64", "int64")})
    return table


STORAGES = {
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Double": torch.float64,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Byte": torch.uint8,
    "Char": torch.int8,
    "Bool": torch.bool,
}
NAMES = _known()
