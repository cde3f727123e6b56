"""Inversion learns on the toy: one concept, one seed, a reduced budget, with both controls."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT
from tinv_ext.core.settings.presets import preset_values

LEARN = ROOT / "tools" / "toy" / "learn.py"
TAUGHT, OTHER = "purple-moon", "striped-yellow-square"
RECIPE = (
    *("optimizer", "learning_rate", "batch_size", "timestep_sampling", "timestep_balance"),
    *("ema_decay", "ema_inv_gamma", "max_vector_norm"),
)
FAST = " ".join(f"{name}={value}" for name, value in preset_values("fast", "object").items() if name in RECIPE)


def learned(results: Path, names: Sequence[str], steps: int, recipe: str = "") -> list[dict[str, Any]]:
    """What the tool measures of these concepts with seed 1."""
    command = [sys.executable, str(LEARN), "--concepts", *names, "--seeds", "1", "--steps", str(steps)]
    changes = ["--set", *recipe.split()] if recipe else []
    done = subprocess.run([*command, *changes, "--json", str(results)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    read: list[dict[str, Any]] = json.loads(results.read_text())
    return read


def check_learned(moon: dict[str, Any]) -> None:
    """Most of the gap to the full description is closed, and images show the concept, edited ones as well."""
    gap = moon["evaluation_before"] - moon["evaluation_description"]
    assert gap > 0.01
    assert moon["evaluation_before"] - moon["evaluation_after"] > 0.8 * gap
    assert moon["identity_after"] >= 0.6
    assert moon["editability"] >= 0.8 * moon["editability_description"]
    assert moon["identity_before"] <= 0.2


@pytest.mark.slow
def test_a_word_learns_its_concept_and_no_other(tmp_path: Path) -> None:
    """160 images by the flags of `fast` teach the concept; rate 0 and another's images do not."""
    moon, square = learned(tmp_path / "results.json", (TAUGHT, OTHER), 160, FAST)
    assert moon["images_seen"] == 160
    check_learned(moon)
    assert square["shows"][TAUGHT] <= 0.2


@pytest.mark.full
@pytest.mark.slow
def test_the_lesson_of_the_docs_teaches_it_in_more_images(tmp_path: Path) -> None:
    """AdamW with falling rates and batches, a hundred steps of it."""
    (moon,) = learned(tmp_path / "results.json", (TAUGHT,), 100)
    assert moon["images_seen"] == 400
    check_learned(moon)
