"""One side in its own process: it reads commands from stdin and answers each with a line of JSON on stdout.

`step KIND` takes a step (steps, bare or frozen) and reports its milliseconds; `gradient` reports the gradient of the
vectors; `floor` what its arithmetic takes alone; `memory` the peak so far and that before the first step; `facts`
versions and device.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch

from bench.floor import floor
from bench.models import SHAPES, pipeline
from bench.scripts import WAYS, Script
from bench.sides import BuiltIn, Ours, Work, work
from tinv_ext.hosts.dtypes import DTYPES

SIDES: dict[str, Callable[[Work], Any]] = {
    "ours": Ours,
    "builtin": BuiltIn,
    **{name: partial(Script, way=way) for name, way in WAYS.items()},
}


def resident_peak() -> int:
    """Most bytes of memory that this process has had (Linux, macOS; 0 elsewhere)."""
    try:
        import resource
    except ImportError:  # Windows has no such module
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


class Worker:
    """A side, and the kind of step it is prepared for."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.set_num_threads(options.threads)
        self._device = torch.device(options.device)
        self._precision = options.precision or ("fp16" if self._device.type == "cuda" else "fp32")
        real_vae = options.side == "diffusers"
        made = pipeline(options.model, self._device, DTYPES[self._precision], options.narrow, real_vae)
        self._side: Any = SIDES[options.side](work(made, options.size, options.batch_size))
        self._stack = ExitStack()
        self._kind = ""
        self._step: Callable[[], Any] = lambda: None
        if self._device.type == "cuda":  # the weights were made in float32; that is not the step's memory
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self._before = self._peak()

    def _peak(self) -> int:
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated())
        return resident_peak()

    def step(self, kind: str) -> dict[str, float]:
        """Milliseconds of one step: by the clock, and of processor time over all threads."""
        if kind != self._kind:
            self._stack.close()
            self._step = getattr(self._side, kind)(self._stack)
            self._kind = kind
        self._wait()
        began, spent = time.perf_counter(), time.process_time()
        self._step()
        self._wait()
        return {"clock": (time.perf_counter() - began) * 1000, "processor": (time.process_time() - spent) * 1000}

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def gradient(self) -> list[float]:
        """The gradient on the vectors, row by row."""
        self._stack.close()
        self._kind = ""
        return [float(value) for value in self._side.gradient().flatten()]

    def floor(self) -> dict[str, float]:
        """Milliseconds of the convolutions, products and attentions of a step, each alone: see bench/floor.py."""
        self.gradient()
        return floor(self._side.gradient, self._device)

    def memory(self) -> dict[str, int]:
        """Bytes: the peak, and the peak before any step."""
        return {"peak": self._peak(), "before": self._before}

    def facts(self) -> dict[str, Any]:
        """Where this was measured."""
        import diffusers
        import transformers

        cuda = self._device.type == "cuda"
        return {
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "transformers": transformers.__version__,
            "python": sys.version.split()[0],
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            "precision": str(DTYPES[self._precision]).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
        }


def main() -> None:
    """Answer until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", choices=SIDES, required=True)
    parser.add_argument("--model", choices=("toy", *SHAPES), required=True)
    parser.add_argument("--precision", choices=DTYPES, help="of UNet and text encoders; fp16 on CUDA, else fp32")
    parser.add_argument("--narrow", action="store_true", help="layers of next to no arithmetic")
    for name in ("--size", "--batch-size", "--threads"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--device", required=True)
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no answer
    worker = Worker(parser.parse_args())
    for line in sys.stdin:
        name, *rest = line.split()
        print(json.dumps(getattr(worker, name)(*rest)), file=answers, flush=True)


if __name__ == "__main__":
    main()
