"""What the arithmetic of a step takes: each convolution, linear layer and attention, timed alone by its shape.

The sum is the machine's limit for these shapes: a step that took no longer would waste nothing on anything else.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

TIMES = 3  # of which the least counts
_ATTENTION = F.scaled_dot_product_attention


def floor(step: Callable[[], Any], device: torch.device) -> dict[str, float]:
    """Milliseconds by "clock" and of "processor" time of what `step` computes, forward and towards its inputs back.

    `step` is called once to see the shapes.
    """
    found: Counter[tuple[Hashable, ...]] = Counter()

    def saw_layer(layer: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
        given, weight = inputs[0], layer.weight
        how: tuple[Any, ...] = ()
        if isinstance(layer, torch.nn.Conv2d):
            how = (layer.stride, layer.padding)
        key = (type(layer).__name__, tuple(given.shape), tuple(weight.shape), weight.dtype, how, given.requires_grad)
        found[key] += 1

    def saw_attention(query: Tensor, key: Tensor, value: Tensor, *given: Any, **named: Any) -> Tensor:
        seen = ("attention", tuple(query.shape), tuple(key.shape), query.dtype, bool(named.get("is_causal")))
        found[(*seen, key.requires_grad or query.requires_grad)] += 1
        return _ATTENTION(query, key, value, *given, **named)

    def watch(module: torch.nn.Module, *given: Any) -> None:
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            saw_layer(module, given[0], given[1])

    with ExitStack() as stack:
        handle = torch.nn.modules.module.register_module_forward_hook(watch)
        stack.callback(handle.remove)
        stack.enter_context(patch.object(F, "scaled_dot_product_attention", saw_attention))
        step()
    total = {"clock": 0.0, "processor": 0.0}
    for shape, count in found.items():
        for by, taken in _timed(_operation(shape, device), device).items():
            total[by] += count * taken
    return total


def _operation(shape: tuple[Any, ...], device: torch.device) -> Callable[[], Any]:
    """One of what was seen, forward and, where its input wants a gradient, back."""
    kind, given, other, dtype, how, wants = shape
    first = torch.randn(given, device=device).to(dtype).requires_grad_(wants)
    wanted = [first]
    if kind == "attention":
        second = torch.randn(other, device=device).to(dtype).requires_grad_(wants)
        wanted.append(second)

        def forward() -> Tensor:
            return _ATTENTION(first, second, second, is_causal=how)
    else:
        weight = torch.randn(other, device=device).to(dtype)

        def forward() -> Tensor:
            return F.conv2d(first, weight, None, *how) if kind == "Conv2d" else F.linear(first, weight)

    upstream = torch.ones_like(forward())

    def both() -> None:
        answer = forward()
        if wants:
            torch.autograd.grad(answer, wanted, upstream)

    return both


def _timed(act: Callable[[], Any], device: torch.device) -> dict[str, float]:
    taken = []
    for _ in range(TIMES + 1):  # the first loads its kernels
        began, spent = time.perf_counter(), time.process_time()
        act()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(((time.perf_counter() - began) * 1000, (time.process_time() - spent) * 1000))
    return {"clock": min(one for one, _ in taken[1:]), "processor": min(other for _, other in taken[1:])}
