"""Train the toy from scratch: python tools/toy/train.py --minutes 90 --folder DIR [--stage vae] [--resume].

With `--variant v_prediction` or `--variant sdxl`, a variant of the toy that was trained in `--base DIR`: it shares
the autoencoder and the pool of latents, and its UNet starts from the base's. With `--variant wide`, a toy of the wide
world with parts of its own, of which autoencoder and UNet start from those that are shipped.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
from pathlib import Path

import repository  # noqa: F401
from stage import FIRST, Budget, Lessons

from tinv_ext.toy import world

VARIANT_SHARES = {
    "v_prediction": {"unet": 1.0},
    "sdxl": {"text": 0.25, "unet": 0.75},
    "wide": {"vae": 0.17, "text": 0.1, "pool": 0.06, "unet": 0.6, "judge": 0.07},
}
SHARES = {"vae": 0.24, "text": 0.05, "pool": 0.06, "unet": 0.6, "judge": 0.05}  # of the minutes given


def record_start(folder: Path, options: argparse.Namespace) -> None:
    """Add this start to folder/made.json: commit, seed, minutes, threads and machine, to be stored with the weights."""
    path = folder / "made.json"
    starts = json.loads(path.read_text(encoding="utf-8")) if options.resume and path.exists() else []
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    commit = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
    threads = f"{options.threads or os.cpu_count()} threads on {os.cpu_count()} CPU cores"
    starts.append(
        {"commit": commit, "seed": options.seed, "stage": options.stage, "minutes": options.minutes, "on": threads}
        | ({"steps": options.steps} if options.steps else {})
    )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(starts, indent=1), encoding="utf-8")


def main() -> None:
    """Run one stage or all of them in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0, help="for the stage named, or for all of them together")
    parser.add_argument("--steps", type=int, default=0, help="instead of minutes, for one stage (images for the pool)")
    parser.add_argument("--stage", choices=["all", *SHARES], default="all")
    parser.add_argument("--folder", type=Path, required=True, help="where checkpoints go; outside the repository")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="0 leaves torch's own choice")
    parser.add_argument("--variant", choices=[*VARIANT_SHARES])
    parser.add_argument("--base", type=Path, help="the folder of the toy's own training, for a variant")
    parser.add_argument("--resume", action="store_true", help="resume from the checkpoints in the folder")
    options = parser.parse_args()
    if bool(options.minutes) == bool(options.steps):
        parser.error("say how long: either --minutes or --steps")
    if options.steps and options.stage == "all":
        parser.error("--steps is for one stage: name it with --stage")
    if options.variant in ("v_prediction", "sdxl") and not options.base:
        parser.error("a variant needs --base, the folder of the toy's own training")
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    record_start(options.folder, options)
    for stage, share in (VARIANT_SHARES[options.variant] if options.variant else SHARES).items():
        if options.stage in ("all", stage):
            run(stage, options, Budget(options.minutes * (share if options.stage == "all" else 1.0), options.steps))


def run(stage: str, options: argparse.Namespace, budget: Budget) -> None:
    """One stage, of the toy or of a variant."""
    if options.variant in (None, "wide"):
        lessons = Lessons(world.WIDE) if options.variant else FIRST
        importlib.import_module(f"stage_{stage}").train(options.folder, budget, options.seed, options.resume, lessons)
    elif stage == "text":
        importlib.import_module("variant_text").train(options.folder, budget, options.seed, options.resume)
    else:
        unet = importlib.import_module("variant_unet")
        unet.train(options.variant, options.folder, options.base, budget, options.seed, options.resume)


if __name__ == "__main__":
    main()
