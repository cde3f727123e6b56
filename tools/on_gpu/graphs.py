"""The UNet as a CUDA graph against the UNet as it is: equal gradients, and what a step takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from bench.models import pipeline
from bench.sides import Ours, Work, sampled, work
from tinv_ext.core.training.forward import denoising_losses
from tinv_ext.hosts.cuda_graphs import GraphedUnet, Tensors, capture_on_cuda
from tinv_ext.hosts.dtypes import DTYPES
from tools.on_gpu.results import Place, Row, at_most, placed
from tools.on_gpu.speed import seconds

CASES = (("sd15", 512, 1, "bf16"), ("sd15", 512, 4, "bf16"), ("sd15", 512, 1, "fp16"), ("sdxl", 1024, 1, "bf16"))
TINY = (("toy", 64, 2, "fp32"),)
SAME = 1e-2  # relative difference of gradients in half precision: kernels may be others
_LONG = 30.0  # seconds that a case takes at most on a GPU


def capture_by_repeating(act: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
    """What a CPU can do in place of a recording: compute again, into the results that were given first."""
    results = act()

    def replay() -> None:
        with torch.enable_grad():
            values = act()
        with torch.no_grad():
            for old, new in zip(results, values):
                old.copy_(new)

    return replay, results


def rows(place: Place) -> Iterator[Row]:
    """A row for each case that there is time for."""
    for name, size, batch, precision in TINY if place.tiny else CASES:
        what = f"{name} {size}², batch {batch}, {precision}"
        if place.seconds_left < _LONG:
            yield Row(what, {"left out": "no time"})
            continue
        place.forget()
        made = pipeline(name, place.device, DTYPES[precision], narrow=place.tiny)
        placed(made, place, precision)
        told: list[str] = []
        right, eager = _measured(place, work(made, size, batch), None)
        graphed = GraphedUnet(made.unet, told.append, capture_on_cuda if place.on_cuda else capture_by_repeating)
        found, graph = _measured(place, work(made, size, batch), graphed)
        figures = {"difference": float((found - right).norm() / right.norm()), "eager ms": eager, "graph ms": graph}
        figures |= {"graph ÷ eager": graph / eager, "refused": len(told)}
        yield at_most(what, figures, difference=SAME, refused=0)
        graphed.clear()


def _measured(place: Place, it: Work, graphed: GraphedUnet | None) -> tuple[Tensor, float]:
    """A step's gradient, flat, and the milliseconds of one."""
    batch, noise, timesteps = sampled(it)
    with it.host.training(1) as model:
        _use(model, graphed)
        for _ in range(2):  # the second replays what the first has recorded
            losses = denoising_losses(model, batch, it.state.vectors, noise, timesteps)
            found = torch.autograd.grad(losses.mean() * model.loss_scale, it.state.leaves())
        gradient = torch.cat([one.double().cpu().flatten() for one in found])
    with ExitStack() as stack:
        step = Ours(it).steps(stack, use=lambda model: _use(model, graphed))
        return gradient, 1e3 * statistics.median(seconds(place, step, 2 if place.tiny else 10))


def _use(model: Any, graphed: GraphedUnet | None) -> None:
    model._graphed = graphed
