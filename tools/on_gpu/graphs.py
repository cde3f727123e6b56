"""UNet and text encoders as CUDA graphs against them as they are: equal gradients, and what a step takes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from bench.models import pipeline
from bench.sides import Ours, Work, sampled, work
from tinv_ext.core.model import Tensors
from tinv_ext.core.training.forward import denoising_losses
from tinv_ext.hosts.cuda_graphs import Graphs, capture_on_cuda
from tinv_ext.hosts.diffusers.pipelines import texts_of
from tinv_ext.hosts.dtypes import DTYPES
from tools.on_gpu.repeating import capture_by_repeating
from tools.on_gpu.results import Place, Row, at_most, deterministic, placed
from tools.on_gpu.speed import seconds

CASES = (
    ("sd15", 512, 1, "bf16"),
    ("sd15", 512, 4, "bf16"),
    ("sd15", 512, 1, "fp16"),
    ("sdxl", 1024, 1, "bf16"),
    ("sdxl", 1024, 4, "bf16"),
)
TINY = (("toy", 64, 2, "fp32"), ("sdxl", 64, 2, "fp32"))
# Relative difference of gradients that two steps without graphs have, too (docs/gpu.md: 1.1e-2 in bfloat16).
SAME = {"bf16": 2e-2, "fp16": 4e-3, "fp32": 1e-4}
_LONG = 25.0  # seconds that a case takes at most on a GPU


def rows(place: Place) -> Iterator[Row]:
    """A row for each case that there is time for; at last, whether a recording that fails leaves CUDA as it was."""
    model, made = "", None
    for name, size, batch, precision in TINY if place.tiny else CASES:
        what = f"{name} {size}², batch {batch}, {precision}"
        if place.seconds_left < _LONG:
            yield Row(what, {"left out": "no time"})
            continue
        if name != model:
            made = None
            place.forget()
            model, made = name, pipeline(name, place.device, DTYPES[precision], narrow=place.tiny)
        placed(made, place, precision)
        told: list[str] = []
        capture = capture_on_cuda if place.on_cuda else capture_by_repeating
        graphs = Graphs((made.unet, *texts_of(made)), capture, told.append)
        with deterministic():
            right = _gradient(work(made, size, batch), None)
            found = _gradient(work(made, size, batch), graphs)
        graphs.clear()
        figures: dict[str, Any] = {"difference": float((found - right).norm() / right.norm())}
        eager, eager_peak = _time(place, work(made, size, batch), None)
        graph, graph_peak = _time(place, work(made, size, batch), graphs)
        figures |= {"eager ms": eager, "graph ms": graph, "graph ÷ eager": graph / eager, "refused": len(told)}
        if eager_peak is not None and graph_peak is not None:
            figures |= {"eager peak MB": round(eager_peak / 2**20), "graph peak MB": round(graph_peak / 2**20)}
        yield at_most(what, figures, difference=SAME[precision], refused=0)
        graphs.clear()
    if place.on_cuda:
        yield _refused(place)


def _refused(place: Place) -> Row:
    """A recording that reads a value back, which CUDA forbids: it is told, and random numbers can be had afterwards."""
    torch.cuda.manual_seed_all(3)  # of whichever device it is
    torch.rand(4, device=place.device)
    before = torch.rand(4, device=place.device)
    torch.cuda.manual_seed_all(3)
    torch.rand(4, device=place.device)
    told: list[str] = []
    given = torch.ones(4, device=place.device, requires_grad=True)

    def reads(value: Tensor) -> Tensors:
        return (value * float(value.detach().sum()),)

    (answer,) = Graphs((), capture_on_cuda, told.append).call("reads", reads, (given,))
    same = torch.equal(torch.rand(4, device=place.device), before)
    figures = {"told": len(told), "right answer": bool((answer == 4).all()), "same random numbers": same}
    return Row("a recording that is refused", figures, "all true", all(figures.values()))


def _gradient(it: Work, graphs: Graphs | None) -> Tensor:
    """A step's gradient, flat; the second call replays what the first has recorded."""
    batch, noise, timesteps = sampled(it)
    with it.host.training(1) as model:
        _use(model, graphs)
        for _ in range(2):
            losses = denoising_losses(model, batch, it.state.vectors, noise, timesteps)
            found = torch.autograd.grad(losses.mean() * model.loss_scale, it.state.leaves())
        return torch.cat([one.double().cpu().flatten() for one in found])


def _time(place: Place, it: Work, graphs: Graphs | None) -> tuple[float, int | None]:
    """Milliseconds of a step, and the peak of memory."""
    place.forget()
    with ExitStack() as stack:
        step = Ours(it).steps(stack, use=lambda model: _use(model, graphs))
        return 1e3 * statistics.median(seconds(place, step, 2 if place.tiny else 10)), place.peak()


def _use(model: Any, graphs: Graphs | None) -> None:
    model._graphs = graphs or Graphs((), None)
