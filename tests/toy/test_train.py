"""The toy's training from scratch, in small: each stage from what the one before it left; captions matter."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.toy.test_tools import tool
from tinv_ext.toy import model, parts, world

Capture = pytest.CaptureFixture[str]


def trained(folder: Path, capture: Capture, stage: str, steps: int, *more: str) -> str:
    """What the command prints. Steps, not minutes: it is the same work on a machine that is slow or busy."""
    command = ["train.py", "--stage", stage, "--steps", str(steps), "--folder", str(folder), *more]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        tool("train").main()
    return capture.readouterr().out


@pytest.mark.slow
def test_each_stage_goes_on_from_what_the_one_before_it_left(tmp_path: Path, capsys: Capture) -> None:
    """A few steps of those that the UNet needs, and of the UNet, which is resumed."""
    for stage, steps in (("vae", 2), ("text", 2), ("pool", 256)):
        trained(tmp_path, capsys, stage, steps)
    trained(tmp_path, capsys, "unet", 2)
    before = (tmp_path / "unet.pt").read_bytes()
    trained(tmp_path, capsys, "unet", 3, "--resume")
    assert (tmp_path / "unet.pt").read_bytes() != before
    starts = json.loads((tmp_path / "made.json").read_text("utf-8"))
    assert [(start["stage"], start["steps"]) for start in starts] == [("unet", 2), ("unet", 3)]


@pytest.mark.slow
def test_the_wide_world_starts_from_the_toy_that_is_shipped(tmp_path: Path, capsys: Capture) -> None:
    """Its autoencoder and UNet do, and its captions and scenes are of its own world."""
    for stage, steps in (("vae", 1), ("text", 1), ("pool", 256), ("unet", 1), ("judge", 1)):
        trained(tmp_path, capsys, stage, steps, "--variant", "wide")
    start = tool("stage").load
    for stage, part in (("vae", parts.vae()), ("unet", parts.unet())):
        shipped = model.part(model.read(model.FILE)[0], f"{stage}.")
        found = start(tmp_path / f"{stage}.pt", True)["ema"]
        assert set(found) == set(part.state_dict())
        far = max(float((found[name] - value).abs().max()) for name, value in shipped.items())
        assert 0 < far < 0.1
    balls = {scene[7] for scene in start(tmp_path / "pool.pt", True)["scenes"]}
    assert balls == {"none", *world.COLOURS}


@pytest.mark.full
@pytest.mark.slow
def test_a_little_training_teaches_something(tmp_path: Path, capsys: Capture) -> None:
    """The UNet's loss falls to a half, the right caption beats another's, and a stage can be resumed."""
    for stage, steps in (("vae", 40), ("text", 60), ("pool", 2048), ("judge", 20)):
        trained(tmp_path, capsys, stage, steps)
    printed = trained(tmp_path, capsys, "unet", 60)
    further = trained(tmp_path, capsys, "unet", 120, "--resume")
    assert "unet step 50 " in printed
    assert "unet step 50 " not in further
    losses = [float(loss) for loss in re.findall(r"unet step \d+ minute \S+ loss (\S+)", printed + further)]
    assert losses[-1] < losses[0] / 2
    found = re.findall(r"t\d+ ([\d.]+)/([\d.]+)/([\d.]+)", further)[-2:]
    assert sum(float(right) for right, _, _ in found) < sum(float(other) for _, other, _ in found)
