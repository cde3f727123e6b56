"""A disk that is really full: a small file system of its own, which Linux lets anybody mount in a namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.once

MOUNT = 'mount -t tmpfs -o size=24m none "$0" && exec "$@"'


def alone(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Carry out a command with a file system of 24 MB at `folder`."""
    wrapped = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(folder), *command]
    return subprocess.run(wrapped, cwd=ROOT, capture_output=True, text=True, timeout=300)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The line of JSON in the end."""
    assert done.returncode == 0, done.stderr[-3000:]
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_a_run_on_a_full_disk_waits_and_goes_on(tmp_path: Path) -> None:
    """It says how much is needed; as soon as there is room it goes on by itself and comes out as with room enough."""
    if os.name == "nt" or not shutil.which("unshare") or alone(tmp_path, "true").returncode:
        pytest.skip("no file system can be mounted here")
    script = (sys.executable, "-m", "tests.faults.full_disk")
    full = told(alone(tmp_path, *script, str(tmp_path)))
    assert full["status"] == "finished"
    assert len(full["paused"]) == 1
    assert "because the disk is full: free 16 MB there" in full["paused"][0]
    roomy = subprocess.run([*script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert told(roomy) == {**full, "paused": []}
