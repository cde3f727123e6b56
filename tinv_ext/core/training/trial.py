"""One step tried out and undone: does a gradient arrive, how long does a step take, how much memory does it want?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from tinv_ext.core.data.dataset import Dataset
from tinv_ext.core.model import Model
from tinv_ext.core.training.fallbacks import Fallbacks
from tinv_ext.core.training.state import State
from tinv_ext.core.training.trainer import Plan, take

_GIGA = 2**30


@dataclass(frozen=True)
class DryRun:
    """What a step was like: how far each encoder's vectors moved, seconds, and the peak of memory in bytes if known."""

    moved: Mapping[str, float]
    loss: float
    seconds: float
    memory: int | None
    given_up: tuple[str, ...]

    def said(self, steps: int) -> Iterator[str]:
        """For people, before a run of so many steps."""
        yield f"A gradient reaches the vectors ({', '.join(self.moved)}); the loss of one step is {self.loss:.4f}."
        yield f"A step takes {self.seconds:.2g} s here, so {steps} steps take {duration(steps * self.seconds)}."
        if self.memory is not None:
            yield f"It wants {self.memory / _GIGA:.1f} GB of the device's memory at most."
        yield from self.given_up


def duration(seconds: float) -> str:
    """As "2 h 10 min", "3 min" or "20 s"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def try_out(state: State, plan: Plan, model: Model, dataset: Dataset) -> DryRun:
    """Take a step twice, the second with a watch, and undo it. The errors are those of training."""
    given_up: list[str] = []
    fallbacks = Fallbacks(given_up.append)
    before = state.backup()
    watched = model.device.type == "cuda"
    try:
        for _ in range(2):
            state.restore(before)
            if watched:
                torch.cuda.synchronize(model.device)
                torch.cuda.reset_peak_memory_stats(model.device)
            started = time.perf_counter()
            step = fallbacks.attempt(state, model, plan.batch_size, partial(take, state, plan, model, dataset))
            seconds = time.perf_counter() - started  # the loss was read: the device is done
        encoders = [encoder for word in state.vectors.values() for encoder in word]
        now = zip(encoders, state.leaves(), before.vectors)
        moved = {name: float((vector.detach() - old).abs().max()) for name, vector, old in now}
        memory = torch.cuda.max_memory_allocated(model.device) if watched else None
        return DryRun(moved, step.loss, seconds, memory, tuple(given_up))
    finally:
        state.restore(before)
