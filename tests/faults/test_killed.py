"""Runs that are killed with SIGKILL and resumed come out bit for bit as one that was left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.paths import ROOT

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked, which Windows cannot"),
]


def told(*arguments: str) -> list[dict[str, Any]]:
    """The lines of JSON that a module of this folder tells; it has found no difference."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_killed_in_every_phase_on_a_model_of_a_few_lines() -> None:
    """Each phase is hit, a run up to four times; what lies in the folders in between is whole."""
    lines = told("tests.faults.killing", "--host", "fake", "--hits", "12")
    assert set(lines[-1]["by phase"]) == {
        "check",
        "encode",
        "step",
        "evaluation",
        "state write",
        "snapshot",
        "preview",
        "replacing a file",
        "curve",
        "final save",
    }


@pytest.mark.slow
def test_killed_in_every_phase_on_the_toy_model() -> None:
    """The same on a true Stable Diffusion, if a tiny one."""
    lines = told("tests.faults.killing", "--host", "toy", "--hits", "20")
    assert len(lines[-1]["by phase"]) == 10


@pytest.mark.slow
def test_the_command_line_killed_from_outside() -> None:
    """`train`, killed at random times of its life, goes on with `train --resume`."""
    assert sum("ended after" in line for line in told("tests.faults.outside", "--hits", "2")) == 2
