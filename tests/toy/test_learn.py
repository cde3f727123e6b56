"""Inversion learns on the toy: one concept, one seed, a reduced budget, with both controls."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

LEARN = ROOT / "tools" / "toy" / "learn.py"
TAUGHT, OTHER = "purple-moon", "striped-yellow-square"


@pytest.mark.slow
def test_a_word_learns_its_concept_and_no_other(tmp_path: Path) -> None:
    """A hundred steps close the gap to the full description; rate 0 and another's images do not teach the concept."""
    results = tmp_path / "results.json"
    command = [sys.executable, str(LEARN), "--concepts", TAUGHT, OTHER, "--seeds", "1", "--steps", "100"]
    done = subprocess.run([*command, "--json", str(results)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    moon, square = json.loads(results.read_text())
    gap = moon["evaluation_before"] - moon["evaluation_description"]
    assert gap > 0.01
    assert moon["evaluation_before"] - moon["evaluation_after"] > 0.8 * gap
    assert moon["identity_after"] >= 0.6
    assert moon["editability"] >= 0.8 * moon["editability_description"]
    assert moon["identity_before"] <= 0.2
    assert square["shows"][TAUGHT] <= 0.2


@pytest.mark.full
@pytest.mark.slow
def test_the_natural_gradient_learns_in_fewer_images(tmp_path: Path) -> None:
    """160 images with `ong`, by the flags that docs/toy.md shows: as well as the lesson's 1200."""
    results = tmp_path / "results.json"
    command = [
        sys.executable,
        str(LEARN),
        "--concepts",
        TAUGHT,
        "--seeds",
        "1",
        "--steps",
        "80",
        "--json",
        str(results),
    ]
    recipe = "optimizer=ong learning_rate=1 batch_size=2 timestep_sampling=stratified timestep_balance=1 ema_decay=0.9"
    done = subprocess.run([*command, "--set", *recipe.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (moon,) = json.loads(results.read_text())
    assert moon["images_seen"] == 160
    assert moon["identity_after"] >= 0.6
    assert moon["editability"] >= 0.8 * moon["editability_description"]
