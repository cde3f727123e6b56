"""Milliseconds and peak memory of a step at real shapes, and its share of what the device's GEMM reaches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.models import pipeline
from bench.sides import Ours, sampled, work
from tinv_ext.core.model import Model
from tinv_ext.core.training.forward import denoising_losses
from tinv_ext.hosts.dtypes import DTYPES
from tools.on_gpu.results import Place, Row, at_least, placed


@dataclass(frozen=True)
class Case:
    """Steps of one kind. `goal` is the share of the GEMM rate that issue and docs name."""

    model: str
    size: int
    batch: int
    precision: str
    accumulate: int = 1
    checkpointing: bool = False
    goal: float = 0.0

    @property
    def what(self) -> str:
        batch = f"batch {self.batch}" + (f" × {self.accumulate}" if self.accumulate > 1 else "")
        return f"{self.model} {self.size}², {batch}, {self.precision}" + (
            ", gradient checkpointing" if self.checkpointing else ""
        )


CASES = (
    Case("sd15", 512, 1, "bf16", goal=0.3),
    Case("sd15", 512, 4, "bf16", goal=0.5),
    Case("sd15", 512, 1, "bf16", accumulate=4),
    Case("sd15", 512, 1, "fp16"),
    Case("sd15", 512, 1, "fp32"),
    Case("sd15", 512, 1, "bf16", checkpointing=True),
    Case("sd2", 768, 1, "bf16"),
    Case("sd2", 768, 4, "bf16"),
    Case("sdxl", 1024, 1, "bf16"),
    Case("sdxl", 1024, 4, "bf16"),
    Case("sdxl", 1024, 1, "bf16", checkpointing=True),
)
TINY = (
    Case("toy", 64, 1, "fp32"),
    Case("toy", 64, 1, "fp32", accumulate=4),
    Case("sd15", 64, 1, "fp32", checkpointing=True),
)
_LONG = 30.0  # seconds that a case takes at most on a GPU


def rows(place: Place) -> Iterator[Row]:
    """The GEMM rates, then a row for each case that there is time for."""
    cases = TINY if place.tiny else CASES
    rates = {precision: gemm_rate(place, precision) for precision in dict.fromkeys(case.precision for case in cases)}
    yield Row("GEMM", {f"{precision} TFLOP/s": rate for precision, rate in rates.items()})
    model, made = "", None
    for case in cases:
        if place.seconds_left < _LONG:
            yield Row(case.what, {"left out": "no time"})
            continue
        if case.model != model:
            made = None
            place.forget()
            model, made = case.model, pipeline(case.model, place.device, torch.bfloat16, narrow=place.tiny)
        yield _row(place, case, made, rates[case.precision])


def gemm_rate(place: Place, precision: str) -> float:
    """TFLOP/s of a product of square matrices, the fastest of several."""
    side, dtype = (256 if place.tiny else 8192), DTYPES[precision]
    one, other = (torch.randn(side, side, device=place.device).to(dtype) for _ in range(2))
    return 2 * side**3 / min(seconds(place, lambda: one @ other, 8)) / 1e12


def _row(place: Place, case: Case, made: Any, rate: float) -> Row:
    placed(made, place, case.precision)
    place.forget()
    with ExitStack() as stack:
        side = Ours(work(made, case.size, case.batch))
        step = side.steps(stack, case.accumulate, _checkpointed if case.checkpointing else _as_it_is)
        times = seconds(place, step, 2 if place.tiny else 10)
        peak = place.peak()
    median = statistics.median(times)
    images = case.batch * case.accumulate
    share = images * flops(case, place.tiny) / median / 1e12 / rate
    figures = {"ms": median * 1e3, "ms per image": median * 1e3 / images, "of GEMM": share}
    if peak is not None:
        figures["peak MB"] = round(peak / 2**20)
    if case.goal and not place.tiny:
        return at_least(case.what, figures, **{"of GEMM": case.goal})
    return Row(case.what, figures)


def _checkpointed(model: Model) -> None:
    model.enable_gradient_checkpointing()


def _as_it_is(model: Model) -> None:
    pass


def seconds(place: Place, act: Callable[[], Any], count: int) -> list[float]:
    """Of each call, after two that do not count."""
    for _ in range(2):
        act()
    times = []
    for _ in range(count):
        place.wait()
        began = time.perf_counter()
        act()
        place.wait()
        times.append(time.perf_counter() - began)
    return times


def flops(case: Case, narrow: bool) -> float:
    """Multiplications and additions of an image's forward and backward, counted by torch on tensors without values."""
    made = pipeline(case.model, torch.device("meta"), torch.float32, narrow=narrow)
    it = work(made, case.size, 1)
    batch, noise, timesteps = sampled(it)
    with it.host.training(1) as model, FlopCounterMode(display=False) as counter:
        losses = denoising_losses(model, batch, it.state.vectors, noise, timesteps)
        losses.sum().backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops())
