"""What previews and evaluations cost beside the steps, in a run of a preset with its own numbers.

    python bench/beside.py [--toy] [--sd15] [--preset fast] [--timed 60] [--before NAME=VALUE …] [--set NAME=VALUE …]

On the toy, processor time: medians of a run of `--timed` steps, in which each comes more often than usual. At SD1.5's
shapes, 512², the multiplications of a step, an evaluation and a preview are counted, with weights that have no numbers:
what a device costs that computes as fast as it can. How many of each there are is what preset and settings say.
`--before` names settings for a row of its own above, measured in the same run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import sides
from bench.models import pipeline
from tinv_ext import toy
from tinv_ext.core.families import SD1
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training import trainer
from tinv_ext.core.training.forward import assemble, compute
from tinv_ext.core.training.objective import Objective
from tinv_ext.hosts.diffusers.checkpoint.configs import shipped_configs
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import runner
from tinv_ext.run.evaluations import Evaluations
from tinv_ext.run.previews import Previews
from tinv_ext.run.setup import FEWEST_DRAWS

Spent = dict[str, list[float]]  # processor seconds of each time


def watched(spent: Spent, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
    """`act`, with its processor seconds noted."""

    def noted(*given: Any, **named: Any) -> Any:
        begun = time.process_time()
        try:
            return act(*given, **named)
        finally:
            spent[name].append(time.process_time() - begun)

    return noted


@contextmanager
def watching() -> Iterator[Spent]:
    """What steps, evaluations and previews take while it is open."""
    spent: Spent = defaultdict(list)
    parts: tuple[tuple[str, Any, str], ...] = (
        ("step", trainer, "take_step"),
        ("evaluation", Evaluations, "_losses"),
        ("preview", Previews, "generate"),
    )
    with ExitStack() as stack:
        for name, owner, attribute in parts:
            stack.enter_context(patch.object(owner, attribute, watched(spent, name, getattr(owner, attribute))))
        yield spent


def run_of(host: DiffusersHost, place: Path, **settings: Any) -> Spent:
    """A run with the usual settings but for those given."""
    images = place / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).resize((256, 256)).save(
            images / f"{number}.png"
        )
    given = {"name": "zworble", "images": str(images), "output": str(place / "runs"), **settings}
    config, problems = TrainConfig.read(given)
    if problems:
        raise SystemExit("\n".join(problems))
    with watching() as spent:
        runner.run(config, host)
    return spent


def timed(steps: int, given: dict[str, Any]) -> dict[str, float]:
    """Processor milliseconds of a step, an evaluation and a preview on the toy."""
    often = {"evaluate_every": max(1, steps // 10), "preview_every": max(1, steps // 4), "preview_at_first": True}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        host = DiffusersHost(toy.pipeline(), place / "embeddings", {"model_name": "toy"})
        spent = run_of(host, place, **{**given, **often, "steps": steps, "stop_when_done": "off"}, width=64, height=64)
    return {name: statistics.median(times) * 1000 for name, times in spent.items()}


def counted(usual: TrainConfig, size: int) -> dict[str, float]:
    """TFLOP of each at SD1.5's shapes; of attention, torch counts the plain one alone."""
    meta = torch.device("meta")
    made = pipeline("sd15", meta, torch.float32)
    made.unet.set_attn_processor(AttnProcessor())
    with meta:
        vae = AutoencoderKL.from_config(dict(shipped_configs(SD1).vae))
    vae.set_attn_processor(AttnProcessor())
    found = {}
    for name, batch in (("step", usual.examples_per_step), ("evaluation", FEWEST_DRAWS)):
        it = sides.work(made, size, batch)
        with it.host.training(1) as model, FlopCounterMode(display=False) as counter:
            drawn, noise, timesteps = sides.sampled(it)
            inputs = assemble(model, drawn, it.state.vectors, noise, timesteps)
            with torch.set_grad_enabled(name == "step"):
                losses = compute(model, inputs, it.state.vectors, Objective())
            if name == "step":
                losses.sum().backward()  # type: ignore[no-untyped-call]
        found[name] = counter.get_total_flops() / 1e12
    both = torch.empty(2, 4, size // 8, size // 8, device=meta)  # with the prompt and without
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        made.unet(both, 1, torch.empty(2, 77, 768, device=meta))
    sampled = counter.get_total_flops() * usual.preview_steps
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        vae.decode(both[:1])
    return {**found, "preview": (sampled + counter.get_total_flops()) / 1e12}


def usual_of(given: dict[str, Any]) -> TrainConfig:
    """The settings of a run."""
    config, problems = TrainConfig.read({"name": "x", "images": "y", **given})
    if problems:
        raise SystemExit("\n".join(problems))
    return config


def counts_of(usual: TrainConfig) -> dict[str, int]:
    """How many steps, evaluations and previews a run has that goes to its last step."""
    of_steps = -(-usual.steps // usual.preview_every) if usual.preview_every else 0
    return {
        "step": usual.steps,
        "evaluation": 1 + -(-usual.steps // usual.evaluate_every) if usual.evaluate_every else 0,
        "preview": of_steps + bool(of_steps and usual.preview_at_first),
    }


def row(model: str, steps: int, given: dict[str, Any]) -> str:
    """Of the table."""
    usual = usual_of(given)
    one = timed(steps, given) if model == "toy" else counted(usual, 512)
    counts = counts_of(usual)
    total = {name: one[name] * counts[name] for name in counts}
    shares = [total[name] / total["step"] for name in ("evaluation", "preview")]
    cells = ["toy, 64², ms" if model == "toy" else "SD1.5, 512², TFLOP"]
    cells += [f"{usual.preview_sampler}, {usual.preview_steps}", *(f"{one[name]:.3g}" for name in counts)]
    cells += [*(str(count) for count in counts.values()), *(f"{share:.1%}" for share in (*shares, sum(shares)))]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--sd15", action="store_true")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--timed", type=int, default=60, help="steps of the run whose parts are timed")
    others = {"nargs": "+", "default": [], "metavar": "NAME=VALUE"}
    parser.add_argument("--set", **others, help="settings that differ from the preset's")
    parser.add_argument("--before", **others, help="settings of another row, above")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    sets = [options.before, options.set] if options.before else [options.set]
    names = ("previews by", "a step", "an evaluation", "a preview", "steps", "evaluations", "previews")
    print(f"| | {' | '.join(names)} | evaluations ÷ steps | previews ÷ steps | together |")
    print(f"|{' --- |' * (len(names) + 4)}")
    for model in [name for name in ("toy", "sd15") if getattr(options, name)] or ["toy", "sd15"]:
        for chosen in sets:
            given = {"preset": options.preset, **dict(pair.split("=", 1) for pair in chosen)}
            print(row(model, options.timed, given), flush=True)


if __name__ == "__main__":
    main()
