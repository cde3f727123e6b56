"""What a step with `ong` costs beside one with AdamW: both train a word on the same model in one process, in turn.

    python bench/optimizers.py [--model sd15] [--size 128] [--batch-size 2] [--pairs 10] [--threads 1]

The natural gradient measures its scale in six steps of a run with a second backward pass; those are timed apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402  (the path first)

from bench.models import pipeline  # noqa: E402
from bench.sides import FOREVER, WORD, Work, work  # noqa: E402
from tinv_ext.core.training.schedules import parse_schedule  # noqa: E402
from tinv_ext.core.training.state import new_state  # noqa: E402
from tinv_ext.core.training.trainer import Plan, train  # noqa: E402

SIDES = {"adamw": ("adamw", "0.005", {}), "ong": ("ong", "1", {"scale": 0.02}), "measuring": ("ong", "1", {})}


def times(it: Work, pairs: int) -> dict[str, list[float]]:
    """Milliseconds of processor time, or on a GPU by the clock, of `pairs` steps of each side, in turn."""
    taken: dict[str, list[float]] = {side: [] for side in SIDES}
    device = it.pipeline.unet.device
    with ExitStack() as stack:
        model = stack.enter_context(it.host.training(1))
        sides = {}
        for side, (optimizer, rate, options) in SIDES.items():
            state = new_state({WORD: it.state.values(WORD)}, 2, device, 0, optimizer, options)
            plan = Plan(FOREVER, it.batch_size, 1, parse_schedule(rate).at)
            sides[side] = stack.enter_context(closing(train(state, plan, model, it.dataset)))
        for turn in range(pairs + 1):  # the first loads kernels
            for side in list(SIDES)[:: 1 if turn % 2 else -1]:
                if side == "measuring" and turn > 1:
                    continue  # it measures in the steps 1, 2, 4 … only
                began = _now(device)
                next(sides[side])
                taken[side].append(_now(device) - began)
    return {side: values[1:] for side, values in taken.items()}


def _now(device: torch.device) -> float:
    if device.type != "cuda":
        return time.process_time() * 1000
    torch.cuda.synchronize()
    return time.perf_counter() * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("toy", "sd15"), default="sd15")
    parser.add_argument("--size", type=int, default=128, help="pixels; with more, the optimizer's share is smaller")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    made = pipeline(options.model, device, torch.float16 if device.type == "cuda" else torch.float32)
    found = times(work(made, options.size, options.batch_size), options.pairs)
    ratios = [one / other for one, other in zip(found["ong"], found["adamw"])]
    for side, values in found.items():
        print(f"{side}: {statistics.median(values):.0f} ms a step ({min(values):.0f} … {max(values):.0f})")
    print(f"ong ÷ adamw: {statistics.median(ratios):.3f} ({min(ratios):.3f} … {max(ratios):.3f})")


if __name__ == "__main__":
    main()
