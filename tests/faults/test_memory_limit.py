"""A real limit of memory: a run ends in a fallback or in a sentence, whatever part of it the limit meets."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.paths import ROOT

pytest.importorskip("resource", reason="Windows has no limit of this kind")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="as Linux limits memory")]

PROGRAM = """
import resource, sys
from tinv_ext.cli import main
import torch, diffusers, transformers
import tinv_ext.hosts.diffusers.host, tinv_ext.toy, tinv_ext.run.runner, tinv_ext.cli.progress
import tinv_ext.hosts.diffusers.open_pipeline
torch.set_num_threads(1)
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]) * 2**20,) * 2)
sys.exit(main.main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    "megabytes", [8, 200, *(pytest.param(other, marks=pytest.mark.full) for other in (1, 24, 48, 80, 120, 400))]
)
def test_a_limit_of_memory_ends_in_a_sentence(megabytes: int, tmp_path: Path) -> None:
    """While loading, encoding or training: finished, or an exit code of ours with a sentence, never a traceback."""
    (tmp_path / "images").mkdir()
    for index in range(2):
        Image.new("RGB", (512, 512), (90 * index, 9, 9)).save(tmp_path / "images" / f"{index}.png")
    flags = ["train", "--images=images", "--name=zworble", "--output=runs", "--steps=2", "--batch-size=2"]
    flags += ["--width=512", "--height=512", "--preview-every=0"]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(megabytes), *flags],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if ran.returncode == -signal.SIGABRT and "memory allocation of" in ran.stderr:
        # tokenizers' Rust ends the process, which nobody can catch: then only while the model is loaded
        assert not (tmp_path / "runs").exists(), ran.stderr[-3000:]
        return
    assert ran.returncode in (0, 2, 4), ran.stderr[-3000:]
    assert "Traceback" not in ran.stderr
    if ran.returncode:
        assert "tinv: " in ran.stderr
