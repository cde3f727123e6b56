"""Moving the tensors of a step to the device together, not one by one.

A copy from ordinary memory makes the CPU wait until it is done. On CUDA all tensors of one type are laid into one
page-locked buffer and copied at once, without waiting; what arrives are views of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
_ALIGNED = 64  # bytes: views begin where kernels can read whole lines


def to_device(inputs: T, device: torch.device) -> T:
    """The same dataclass, tensors in it and in its dataclasses and mappings on `device`."""
    tensors: list[Tensor] = []
    _map(inputs, tensors.append)
    moved = iter(_moved(tensors, device))
    return _map(inputs, lambda _: next(moved))  # type: ignore[no-any-return]


def _map(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """`value` with each tensor in it replaced by what `change` gives, always in the same order."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _map(item, change) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _map(getattr(value, field.name), change) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value


def _moved(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    if device.type != "cuda" or any(tensor.device.type != "cpu" for tensor in tensors):
        return [tensor.to(device) for tensor in tensors]
    moved: dict[int, Tensor] = {}
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        alike = [(place, tensor) for place, tensor in enumerate(tensors) if tensor.dtype == dtype]
        for (place, tensor), view in zip(alike, _together([tensor for _, tensor in alike], device)):
            moved[place] = view.view(tensor.shape)
    return [moved[place] for place in range(len(tensors))]


def _together(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    """Flat copies of tensors of one type on `device`, by one transfer."""
    step = _ALIGNED // tensors[0].element_size()
    sizes = [-(-tensor.numel() // step) * step for tensor in tensors]
    staging = torch.empty(sum(sizes), dtype=tensors[0].dtype, pin_memory=True)
    for part, tensor in zip(torch.split(staging, sizes), tensors):
        part[: tensor.numel()].copy_(tensor.reshape(-1))
    arrived = staging.to(device, non_blocking=True)  # the allocator keeps the buffer until the copy is done
    return [part[: tensor.numel()] for part, tensor in zip(torch.split(arrived, sizes), tensors)]
