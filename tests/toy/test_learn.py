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
