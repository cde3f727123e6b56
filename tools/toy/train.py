"""Train the toy from nothing: python tools/toy/train.py --minutes 90 --folder DIR [--stage vae] [--resume].

With `--variant v_prediction` or `--variant sdxl`, a variant of the toy whose training lies in `--base DIR`: it shares
the autoencoder and the pool of latents, and its UNet begins at the base's.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
from pathlib import Path

import repository  # noqa: F401

VARIANT_SHARES = {"v_prediction": {"unet": 1.0}, "sdxl": {"text": 0.25, "unet": 0.75}}
SHARES = {"vae": 0.24, "text": 0.05, "pool": 0.06, "unet": 0.6, "judge": 0.05}  # of the minutes given


def say_what(folder: Path, given: argparse.Namespace) -> None:
    """Leave folder/made.json: every start's commit, seed, minutes, threads and machine, for the weights to name."""
    path = folder / "made.json"
    starts = json.loads(path.read_text(encoding="utf-8")) if given.resume and path.exists() else []
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    commit = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
    threads = f"{given.threads or os.cpu_count()} threads on {os.cpu_count()} CPU cores"
    starts.append({"commit": commit, "seed": given.seed, "stage": given.stage, "minutes": given.minutes, "on": threads})
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(starts, indent=1), encoding="utf-8")


def main() -> None:
    """Run one stage or all of them in order."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--minutes", type=float, required=True, help="for the stage named, or for all of them together")
    ask.add_argument("--stage", choices=["all", *SHARES], default="all")
    ask.add_argument("--folder", type=Path, required=True, help="where checkpoints go; outside the repository")
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--threads", type=int, default=0, help="0 leaves torch's own choice")
    ask.add_argument("--variant", choices=[*VARIANT_SHARES])
    ask.add_argument("--base", type=Path, help="the folder of the toy's own training, for a variant")
    ask.add_argument("--resume", action="store_true", help="go on from the checkpoints in the folder")
    given = ask.parse_args()
    if given.variant and not given.base:
        ask.error("a variant needs --base, the folder of the toy's own training")
    if given.threads:
        import torch

        torch.set_num_threads(given.threads)
    say_what(given.folder, given)
    for stage, share in (VARIANT_SHARES[given.variant] if given.variant else SHARES).items():
        if given.stage in ("all", stage):
            run(stage, given, given.minutes * (share if given.stage == "all" else 1.0))


def run(stage: str, given: argparse.Namespace, minutes: float) -> None:
    """One stage, of the toy or of a variant."""
    if not given.variant:
        importlib.import_module(f"stage_{stage}").train(given.folder, minutes, given.seed, given.resume)
    elif stage == "text":
        importlib.import_module("variant_text").train(given.folder, minutes, given.seed, given.resume)
    else:
        unet = importlib.import_module("variant_unet")
        unet.train(given.variant, given.folder, given.base, minutes, given.seed, given.resume)


if __name__ == "__main__":
    main()
