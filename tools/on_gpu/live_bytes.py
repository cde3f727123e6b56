"""Bytes of the tensors that are alive, counted as a computation goes on, on any device: its peak, and a limit to it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class LiveBytes(TorchDispatchMode):
    """While open, counts the storages that operations bring about, each until it is gone.

    What an operation uses for itself alone is not seen. Above `limit` it raises as an allocator does.
    """

    def __init__(self, limit: float = float("inf")) -> None:
        super().__init__()
        self.limit = limit
        self.now = self.peak = 0
        self._known: dict[int, Any] = {}

    def count(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that were there before, of which an operation may give a view."""
        for tensor in tensors:
            self._count(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count(one for one in tree_flatten(result)[0] if isinstance(one, Tensor))
        if self.now > self.limit:
            del result
            raise torch.cuda.OutOfMemoryError(f"CUDA out of memory (a limit of {self.limit:.0f} bytes set by hand).")
        self.peak = max(self.peak, self.now)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known[key] = weakref.ref(storage, lambda _: self._gone(key, size))
        self.now += size

    def _gone(self, key: int, size: int) -> None:
        self.now -= size
        del self._known[key]
