"""The toy's training from scratch, in small: each stage from what the one before it left; captions matter."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

TRAIN = ROOT / "tools" / "toy" / "train.py"


def trained(folder: Path, stage: str, steps: int, *more: str) -> str:
    """What the command prints. Steps, not minutes: it is the same work on a machine that is slow or busy."""
    command = [sys.executable, str(TRAIN), "--stage", stage, "--steps", str(steps), "--folder", str(folder), *more]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_each_stage_goes_on_from_what_the_one_before_it_left(tmp_path: Path) -> None:
    """A few steps of those that the UNet needs, and of the UNet, which is resumed."""
    for stage, steps in (("vae", 2), ("text", 2), ("pool", 256)):
        trained(tmp_path, stage, steps)
    trained(tmp_path, "unet", 2)
    before = (tmp_path / "unet.pt").read_bytes()
    trained(tmp_path, "unet", 3, "--resume")
    assert (tmp_path / "unet.pt").read_bytes() != before
    starts = json.loads((tmp_path / "made.json").read_text("utf-8"))
    assert [(start["stage"], start["steps"]) for start in starts] == [("unet", 2), ("unet", 3)]


@pytest.mark.full
@pytest.mark.slow
def test_a_little_training_teaches_something(tmp_path: Path) -> None:
    """The UNet's loss falls to a half, the right caption beats another's, and a stage can be resumed."""
    for stage, steps in (("vae", 40), ("text", 60), ("pool", 2048), ("judge", 20)):
        trained(tmp_path, stage, steps)
    printed = trained(tmp_path, "unet", 60)
    further = trained(tmp_path, "unet", 120, "--resume")
    assert "unet step 50 " in printed
    assert "unet step 50 " not in further
    losses = [float(loss) for loss in re.findall(r"unet step \d+ minute \S+ loss (\S+)", printed + further)]
    assert losses[-1] < losses[0] / 2
    found = re.findall(r"t\d+ ([\d.]+)/([\d.]+)/([\d.]+)", further)[-2:]
    assert sum(float(right) for right, _, _ in found) < sum(float(other) for _, other, _ in found)
