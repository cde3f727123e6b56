"""Try the preset fast beside classic on a model and images of your own, at equal images, by the evaluation loss:

    python tools/try_recipe.py --model CHECKPOINT --images FOLDER --init-text "cat" [--seen 400] [--output trial]

It trains one embedding by each preset, from the same initial text and seed, and measures both on the same images, noise
and timesteps; where there are eight images or more, on some that neither is trained on. OUTPUT gets report.md, with the
figures and what is needed to understand them: no path, no caption, no image. Please send it to us: nothing of the
presets has been measured on real models yet.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402  (the path first)

from tinv_ext import __version__  # noqa: E402
from tinv_ext.cli.failures import explain  # noqa: E402
from tinv_ext.cli.main import host_of  # noqa: E402
from tinv_ext.core.settings import TrainConfig  # noqa: E402
from tinv_ext.core.settings.presets import PRESETS, preset_values  # noqa: E402
from tinv_ext.hosts.diffusers.host import DiffusersHost  # noqa: E402
from tinv_ext.run import events, preflight, runner  # noqa: E402

ENOUGH = 8  # images, of which some can be held out
HELD_OUT = 4  # one in so many
DRAWS = 32  # evaluated, over all images
LOOKS = 10  # at the evaluation loss, beside the one before the first step


@dataclass
class Trial:
    """What one preset did: evaluation loss and vectors' length by images seen, and seconds of its steps."""

    preset: str
    losses: dict[int, float] = field(default_factory=dict)
    lengths: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.0


def config_of(preset: str, options: argparse.Namespace, held_out: int, measured: int) -> TrainConfig:
    """The preset's own settings, but for how long it trains and what is measured."""
    values = preset_values(preset, "object")
    per_step = values["batch_size"] * values["gradient_accumulation_steps"]
    steps = max(LOOKS, options.seen // per_step)
    return TrainConfig.from_dict(
        {
            "preset": preset,
            "name": f"{options.name}{preset}",
            "images": str(options.images),
            "output": str(options.output / "runs"),
            "init_text": options.init_text,
            "template": options.template,
            "num_vectors": options.vectors,
            "seed": options.seed,
            "steps": steps,
            "evaluate_every": max(1, steps // LOOKS),
            "evaluation_images": held_out,
            "evaluation_timesteps": max(1, DRAWS // measured),
            "preview_every": 0,
            "overwrite": True,
        }
    )


def try_preset(config: TrainConfig, host: DiffusersHost) -> Trial:
    """Train by one preset, and keep what is measured on the way. `InputError` before anything starts."""
    trial, last = Trial(config.preset), time.monotonic()

    def listen(event: events.Event) -> None:
        nonlocal last
        if isinstance(event, events.Evaluated):
            trial.losses[event.step * config.examples_per_step] = event.loss
        if isinstance(event, events.Step):
            trial.lengths[event.number * config.examples_per_step] = event.vector_norm
            trial.seconds += time.monotonic() - last
            print(f"\r{config.preset}: step {event.number} of {config.steps}", end="", file=sys.stderr, flush=True)
        last = time.monotonic()

    runner.run(config, host, listen)
    print(file=sys.stderr)
    return trial


def report(trials: Sequence[Trial], host: DiffusersHost, options: argparse.Namespace, facts: dict[str, Any]) -> str:
    """The figures as Markdown, without anything private."""
    lines = [f"# {' against '.join(trial.preset for trial in trials)}, at equal images", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "| images seen | " + " | ".join(trial.preset for trial in trials) + " |"]
    lines += ["|---" * (len(trials) + 1) + "|"]
    for images in sorted({images for trial in trials for images in trial.losses}):
        cells = [f"{trial.losses[images]:.5f}" if images in trial.losses else "" for trial in trials]
        lines.append(f"| {images} | " + " | ".join(cells) + " |")
    lines += ["", "Evaluation loss; lower is better. In the end:", ""]
    for trial in trials:
        first, last = trial.losses[min(trial.losses)], trial.losses[max(trial.losses)]
        length, seen = trial.lengths[max(trial.lengths)], max(trial.lengths)
        lines.append(
            f"- {trial.preset}: {first:.5f} → {last:.5f} (lowest {min(trial.losses.values()):.5f}), vectors "
            f"{length:.3f} long, {1000 * trial.seconds / seen:.0f} ms per image"
        )
    return "\n".join(lines) + "\n"


def facts_of(host: DiffusersHost, options: argparse.Namespace, images: int, held_out: int) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "tinv_ext": __version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "model": f"{host.facts.get('family', '')} {host.facts.get('model_hash') or host.facts.get('model_name')}, "
        f"predicts {host.prediction}",
        "images": f"{images}, of which {held_out} are only measured" if held_out else f"{images}, also measured",
        "size": host.native_size,
        "vectors": options.vectors,
        "seed": options.seed,
    }


def main() -> int:
    """Try both and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="checkpoint, diffusers folder, owner/name, or toy")
    parser.add_argument("--images", type=Path, required=True, help="folder of training images")
    parser.add_argument("--init-text", required=True, help="a word close to what the images show")
    parser.add_argument("--template", default="subject", help="as for tinv train")
    parser.add_argument("--vectors", type=int, default=1)
    parser.add_argument("--seen", type=int, default=400, help="images that each preset sees")
    parser.add_argument("--presets", nargs="+", choices=tuple(PRESETS), default=("fast", "classic"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", default="zibbo", help="what the words are called, followed by the preset")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--output", type=Path, default=Path("trial"), help="folder of the report and the runs")
    options = parser.parse_args()
    try:
        return _try(options)
    except Exception as error:  # noqa: BLE001 (the end of the program)
        return explain(error)


def _try(options: argparse.Namespace) -> int:
    placed = {"model": options.model, "device": options.device, "precision": options.precision, "vae": None}
    host = host_of({**placed, "embeddings": options.output / "embeddings"}, {})
    prepared = preflight.prepare_run(config_of(options.presets[0], options, 0, 1), host)
    images = len(prepared.images)
    held_out = images // HELD_OUT if images >= ENOUGH else 0
    configs = [config_of(preset, options, held_out, held_out or images) for preset in options.presets]
    for config in configs:  # all that can be said against any of them before the first begins
        preflight.prepare_run(config, host)
    trials = [try_preset(config, host) for config in configs]
    text = report(trials, host, options, facts_of(host, options, images, held_out))
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "report.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
