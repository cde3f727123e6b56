"""Memory that runs out for real: the same steps under lower and lower limits teach the same, or end in the sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.models import pipeline
from bench.sides import work
from tinv_ext.core.errors import MemoryShortError
from tinv_ext.core.training.fallbacks import Fallbacks
from tinv_ext.core.training.schedules import parse_schedule
from tinv_ext.core.training.trainer import Plan, train
from tools.on_gpu.live_bytes import LiveBytes
from tools.on_gpu.results import Place, PlainFloat32, Row, placed

SHARES = (0.6, 0.3, 0.15)  # of what a step needs beside the weights
TINY_SHARES = (0.7, 0.36)  # where less of it can be computed twice
TOO_LITTLE = 0.01
SAME = 1e-4  # relative difference of the vectors; docs/gpu.md: 2.3e-7 … 6.8e-7, of two equal runs 3.2e-7
STEPS, BATCH = 2, 4


def rows(place: Place) -> Iterator[Row]:
    """The peak without a limit, then a row for each limit: what was given up, and how far off the vectors are."""
    made = pipeline("sd15", place.device, torch.float32, narrow=place.tiny)
    with PlainFloat32():
        room = partial(_steps, place, made, 64 if place.tiny else 512)
        weights, peak, right, _ = room(None)
        yield Row("no limit", {"weights MB": _mega(weights), "peak MB": _mega(peak)})
        for share in TINY_SHARES if place.tiny else SHARES:
            limit = weights + share * (peak - weights)
            _, reached, found, told = room(limit)
            difference = float("inf")  # unless it finished
            if found is not None and right is not None:
                difference = float((found - right).norm() / right.norm())
            figures: dict[str, Any] = {"given up": len(told), "peak MB": _mega(reached), "difference": difference}
            good = bool(told) and difference <= SAME and reached <= limit
            yield Row(f"limit {_mega(limit)} MB", figures, f"something given up, difference ≤ {SAME:g}", good)
        _, _, found, told = room(weights + TOO_LITTLE * (peak - weights))
        figures = {"given up": len(told), "ended in a sentence": found is None}
        yield Row("too little", figures, "ends in a sentence", found is None)


def _steps(place: Place, made: Any, size: int, limit: float | None) -> tuple[float, float, Tensor | None, list[str]]:
    """Bytes before the steps and at their peak, the vectors after them (None: no memory), and what was told."""
    told: list[str] = []
    placed(made, place, "fp32" if place.on_cuda else "fp64")  # narrow layers of random weights round too much in fp32
    it = work(made, size, BATCH)
    plan = Plan(STEPS, BATCH, 1, parse_schedule("0.005").at)
    place.forget()
    with _limited(place, limit) as (before, peak), it.host.training(1) as model:
        fallbacks = Fallbacks(told.append)
        try:
            for _ in train(it.state, plan, model, it.dataset, fallbacks):
                pass
        except MemoryShortError:
            return before, peak(), None, told
        found = torch.cat([leaf.detach().double().cpu().flatten() for leaf in it.state.leaves()])
        return before, peak(), found, told


@contextmanager
def _limited(place: Place, limit: float | None) -> Iterator[tuple[float, Any]]:
    """While open, no more than `limit` bytes: by CUDA's own limit of a process, elsewhere by counting tensors."""
    if not place.on_cuda:
        with LiveBytes(float("inf") if limit is None else limit) as live:
            yield 0.0, lambda: live.peak
        return
    device = torch.cuda.current_device() if place.device.index is None else place.device.index  # it wants a number
    total = torch.cuda.get_device_properties(device).total_memory
    before = torch.cuda.memory_allocated(place.device)
    try:
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total) if limit else 1.0, device)
        yield before, place.peak
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def _mega(number: float) -> int:
    return round(number / 2**20)
