"""A long run does not grow."""

from __future__ import annotations

import sys

import pytest

from tests.faults.test_killed import told


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells memory and file handles")
def test_memory_and_file_handles_stay_flat() -> None:
    """300 steps with previews, copies, pauses and pictures in between; the command's exit code is the judgement."""
    (said,) = told("tests.faults.soaking", "--steps", "300")
    assert (said["steps"], said["pauses"]) == (300, 3)
