"""The gradient of a step on the device, in each precision, against float64 on the CPU with the same random numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.models import pipeline
from bench.sides import Work, sampled, work
from tinv_ext import toy
from tinv_ext.core.training.forward import denoising_losses
from tools.on_gpu.results import Place, PlainFloat32, Row, placed

TOYS = ("", "v_prediction", "sdxl")  # variants of the toy, with weights that were learned
# Relative error of the worst step (None: no bar) and its cosine. An H100 gave 2.2e-6, 1.6e-3, 1.7e-2 and 2.1e-3
# (docs/gpu.md).
BARS = {"fp32": (3e-5, 0.999999), "fp32, TF32": (None, 0.9999), "bf16": (None, 0.999), "fp16": (None, 0.999)}
DRAWS = 3


def rows(place: Place) -> Iterator[Row]:
    """A row for each model and precision: the worst of `DRAWS` steps."""
    cpu = replace(place, device=torch.device("cpu"))
    for name, make, size in _models(place):
        original = make()
        right = gradients(copy.deepcopy(original), cpu, "fp64", size)
        for precision, (most, least) in BARS.items():
            if precision == "fp32, TF32" and not place.on_cuda:
                continue
            found = _in(precision, copy.deepcopy(original), place, size)
            error = max(float((one - other).norm() / other.norm()) for one, other in zip(found, right))
            cosine = min(float(torch.cosine_similarity(one, other, 0)) for one, other in zip(found, right))
            bar = (f"error ≤ {most:g}, " if most else "") + f"cosine ≥ {least:g}"
            good = cosine >= least and (most is None or error <= most)
            yield Row(f"{name}, {precision}", {"error": error, "1 - cosine": 1 - cosine}, bar, good)


def _models(place: Place) -> Iterator[tuple[str, Callable[[], Any], int]]:
    """Name, model and image size: the toys and, on a GPU, Stable Diffusion 1.5 with random weights."""
    for variant in ("", "sdxl") if place.tiny else TOYS:
        yield f"toy {variant}".strip(), partial(toy.pipeline, variant), 64
    if not place.tiny:
        yield "sd15, random weights", partial(pipeline, "sd15", torch.device("cpu"), torch.float32), 256


def _in(precision: str, pipe: Any, place: Place, size: int) -> list[Tensor]:
    if precision == "fp32, TF32":
        return gradients(pipe, place, "fp32", size)
    with PlainFloat32():
        return gradients(pipe, place, precision, size)


def gradients(pipe: Any, place: Place, precision: str, size: int) -> list[Tensor]:
    """The gradient of the vectors in `DRAWS` steps of two images, flat, in float64 on the CPU."""
    placed(pipe, place, precision)
    it = work(pipe, size, 2)
    return [_gradient(it, seed) for seed in range(DRAWS)]


def _gradient(it: Work, seed: int) -> Tensor:
    leaves = it.state.leaves()
    with it.host.training(1) as model:
        batch, noise, timesteps = sampled(it, seed)
        losses = denoising_losses(model, batch, it.state.vectors, noise, timesteps)
        (losses.mean() * model.loss_scale).backward()  # type: ignore[no-untyped-call]
        found = torch.cat([leaf.grad.double().cpu().flatten() for leaf in leaves if leaf.grad is not None])
    for leaf in leaves:
        leaf.grad = None
    return found / model.loss_scale
