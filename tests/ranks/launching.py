"""Trainings on the tiny model in one process or, by torchrun or accelerate, in several; and what they leave behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tinv_ext.cli.main import main
from tinv_ext.core.training.state import load_state

PROGRAM = Path(__file__).with_name("program.py")
PATIENCE = 300.0  # seconds that a launch may take on a busy machine
NAME = "zworble"


@dataclass(frozen=True)
class Ended:
    """How a launch has ended, and what it said."""

    code: int
    out: str
    err: str


def images(folder: Path) -> Path:
    """Six images of two shapes, two of them with transparency, with captions."""
    folder.mkdir()
    for number in range(6):
        size = (96, 64) if number % 2 else (64, 96)
        image = Image.effect_noise(size, 60 + 10 * number).convert("RGB")
        if number in (2, 3):
            image.putalpha(Image.linear_gradient("L").resize(size))
        image.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"thing {number}")
    return folder


def settings(folder: Path, output: Path, **changed: Any) -> list[str]:
    """The command line of a short training."""
    values = {
        "name": NAME,
        "images": folder,
        "output": output,
        "steps": 4,
        "batch_size": 2,
        "resize_mode": "buckets",
        "bucket_step": 32,
        "bucket_min": 64,
        "width": 96,
        "height": 64,
        "template": "subject_filewords",
        "alpha_as_loss_weight": "true",
        "optimizer": "adamw",
        "learning_rate": "0.02",
        "save_state_every": 1,
        "evaluate_every": 2,
        "preview_every": 0,
        "stop_when_done": "false",
        **changed,
    }
    return ["train", *(f"--{name}={value}" for name, value in values.items())]


def environment(fault: Mapping[str, Any] | None = None) -> dict[str, str]:
    """One thread for each process; no other launcher's variables."""
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return {**kept, "OMP_NUM_THREADS": "1", "FAULT": json.dumps(fault or {})}


def free_port() -> int:
    """A port that nobody listens to at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def torchrun(count: int) -> list[str]:
    """What begins a command line for so many processes of PROGRAM."""
    to = [f"--nproc-per-node={count}", "--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    return [sys.executable, "-m", "torch.distributed.run", *to, str(PROGRAM)]


def launch(before: list[str], arguments: list[str], fault: Mapping[str, Any] | None = None) -> Ended:
    """Carry out a command line to its end."""
    line = [*before, *arguments]
    ended = subprocess.run(line, env=environment(fault), capture_output=True, text=True, timeout=PATIENCE, check=False)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def alone(arguments: list[str]) -> int:
    """The exit code of the same in one process, which is this one: another would take longer to start than to train."""
    return main(arguments)


def run_folder(output: Path) -> Path:
    """The one run below a log directory."""
    (run,) = output.glob("20*/*")
    return run


def learnt(output: Path, optimizer: str = "adamw") -> Tensor:
    """The vectors that the state of the one run has."""
    state, _ = load_state(run_folder(output) / "state.safetensors", torch.device("cpu"), optimizer=optimizer)
    return torch.cat([leaf.detach() for leaf in state.leaves()])


def moved_apart(one: Tensor, two: Tensor) -> float:
    """How far two results are from each other, relative to their length."""
    return float((one - two).norm() / one.norm())


def status(output: Path) -> dict[str, Any]:
    """What status.json says."""
    found: dict[str, Any] = json.loads((run_folder(output) / "status.json").read_text("utf-8"))
    return found
