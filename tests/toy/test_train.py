"""The toy's training from scratch, for two minutes and two more of the UNet: it learns, and captions matter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

TRAIN = ROOT / "tools" / "toy" / "train.py"


def trained(folder: Path, minutes: float, *more: str) -> str:
    """What the command prints."""
    command = [sys.executable, str(TRAIN), "--minutes", str(minutes), "--folder", str(folder), "--threads", "2", *more]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_two_minutes_of_training_teach_something(tmp_path: Path) -> None:
    """The UNet's loss falls to a half, the right caption beats another's, and a stage can be resumed."""
    printed = trained(tmp_path, 2)
    losses = [float(loss) for loss in re.findall(r"unet step \d+ minute \S+ loss (\S+)", printed)]
    assert losses[-1] < losses[0] / 2
    steps = int(re.findall(r"unet step (\d+)", printed)[-1])
    further = trained(tmp_path, 3, "--stage", "unet", "--resume")
    assert int(re.findall(r"unet step (\d+)", further)[-1]) > steps
    right, other, _ = map(float, re.findall(r"t500 ([\d.]+)/([\d.]+)/([\d.]+)", further)[-1])
    assert right < other
