"""How much memory a training step needs, computed without a GPU: python bench/memory.py [--models sd15 sd2 sdxl]

UNet and text encoders are made in their real shapes with weights that have no numbers (FakeTensorMode), forward and
backward of a step go through them, and the bytes of all tensors alive are counted. What kernels use for themselves
alone, what the allocator rounds up and CUDA's own context are not among them.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import sides
from bench.models import pipeline
from tinv_ext.core.training.forward import assemble, compute
from tinv_ext.core.training.objective import Objective
from tinv_ext.core.training.transfer import _map
from tinv_ext.hosts.diffusers.pipelines import texts_of
from tinv_ext.hosts.dtypes import DTYPES
from tinv_ext.hosts.offloading import layers_of, place_offloaded
from tools.on_gpu.live_bytes import LiveBytes

SIZES: Mapping[str, int] = {"sd15": 512, "sd2": 768, "sdxl": 1024}
BATCHES = (1, 4)
CHECKPOINTING = "gradient checkpointing"
OFFLOADED = "gradient checkpointing, weights in main memory"
RUNGS = ("nothing", CHECKPOINTING, OFFLOADED)


def bytes_of(name: str, size: int, batch: int, dtype: torch.dtype, rung: str) -> tuple[int, int]:
    """Of the weights of UNet and text encoders on the device, and of what lives beside them at the peak of a step."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    made = pipeline(name, torch.device("meta"), dtype)
    parts = [made.unet, *texts_of(made)]
    for module in (module for part in parts for module in part.modules()):
        for held in (module._parameters, module._buffers):
            held.update({key: _fake(mode, value) for key, value in held.items() if value is not None})
    weights = [weight for part in parts for weight in part.parameters()]
    it = sides.work(made, size, batch)
    with it.host.training(1) as model:
        if rung != RUNGS[0]:
            model.enable_gradient_checkpointing()
        out = [one.weight for one in layers_of(parts)] if rung == OFFLOADED else []
        if out:
            with mode:
                place_offloaded(parts, torch.device("cpu"))
        drawn, noise, timesteps = sides.sampled(it)
        inputs = assemble(model, drawn, it.state.vectors, noise, timesteps)
        with mode, LiveBytes() as alive:
            alive.count(weights)
            before, held = alive.now, alive.now - sum(weight.nbytes for weight in out)
            words = {sides.WORD: {key: mode.from_tensor(one) for key, one in it.state.vectors[sides.WORD].items()}}
            compute(model, _map(inputs, mode.from_tensor), words, Objective()).sum().backward()  # type: ignore[no-untyped-call]
    return held, alive.peak - before


def _fake(mode: FakeTensorMode, weight: Tensor) -> Tensor:
    """A weight of device meta as one of the CPU that has no numbers."""
    fake = FakeTensor(mode, weight.data, torch.device("cpu"))
    return torch.nn.Parameter(fake, weight.requires_grad) if isinstance(weight, torch.nn.Parameter) else fake


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=tuple(SIZES), default=tuple(SIZES))
    parser.add_argument("--precision", choices=("fp16", "bf16", "fp32"), default="fp16")
    options = parser.parse_args()
    print("| shapes | batch | given up | weights | beside them | together, MiB |\n|---|---|---|---|---|---|")
    for name, batch, rung in itertools.product(options.models, BATCHES, RUNGS):
        held, beside = bytes_of(name, SIZES[name], batch, DTYPES[options.precision], rung)
        cells = " | ".join(f"{value / 2**20:.0f}" for value in (held, beside, held + beside))
        print(f"| {name} {SIZES[name]}² | {batch} | {rung} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
