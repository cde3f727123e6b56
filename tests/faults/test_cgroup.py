"""A container's limit of memory (cgroup): the kernel kills whoever passes it. As after any kill, the run goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.faults.outside import _environment
from tests.paths import ROOT
from tinv_ext.core.formats import read_embedding
from tinv_ext.run.curve import read_curve
from tinv_ext.run.run_folder import find_runs

pytestmark = pytest.mark.slow
SAMPLES = ROOT / "tinv_ext" / "toy" / "samples" / "clover"
PLACES = {  # where groups are, the file with their limit, the one with the most that they used
    Path("/sys/fs/cgroup/memory"): ("memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    Path("/sys/fs/cgroup"): ("memory.max", "memory.peak"),
}
NO_SWAP = {"memory.swappiness": "0", "memory.swap.max": "0"}  # else it gets slow instead of being killed
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed: else glibc keeps the most that was ever needed
LESS = 8 * 2**20  # bytes by which the limit falls at a time


@pytest.fixture
def group() -> Iterator[tuple[Path, str, str]]:
    """A group of our own for one process."""
    for place, (limit, used) in PLACES.items():
        folder = place / f"tinv-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:  # not Linux, or not allowed here
            continue
        if (folder / limit).is_file() and (folder / used).is_file():
            for swap, none in NO_SWAP.items():
                if (folder / swap).is_file():
                    (folder / swap).write_text(none)
            yield folder, limit, used
            for process in (folder / "cgroup.procs").read_text().split():  # of a test that failed
                os.kill(int(process), signal.SIGKILL)
            _removed(folder)
            return
        folder.rmdir()
    pytest.skip("no memory cgroup can be made here")


def _removed(folder: Path) -> None:
    """Remove a group; what was killed may be in it for a moment."""
    for _ in range(50):
        try:
            folder.rmdir()
            return
        except OSError:
            time.sleep(0.1)
    folder.rmdir()


def train(folder: Path, *flags: object, group: Path | None = None) -> subprocess.Popen[str]:
    """The command line at work in a folder, in a group if there is one."""
    enter = 'echo $$ > "$GROUP/cgroup.procs" && exec "$@"' if group else 'exec "$@"'
    return subprocess.Popen(
        ["sh", "-c", enter, "sh", sys.executable, "-m", "tinv_ext", "train", *map(str, flags)],
        cwd=folder,
        env={**_environment(), "PYTHONPATH": str(ROOT), "GROUP": str(group), **GIVE_BACK},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def begin(folder: Path, steps: int, group: Path | None = None) -> subprocess.Popen[str]:
    """A training of the toy model whose steps need much more memory than the model."""
    (folder / "images").mkdir(parents=True)
    shutil.copy(SAMPLES / "01.png", folder / "images")
    flags = ("--name=zworble", "--images=images", "--output=runs", f"--steps={steps}", "--save-state-every=1")
    return train(folder, *flags, "--width=320", "--height=320", "--preview-every=0", "--evaluate-every=0", group=group)


def squeeze(process: subprocess.Popen[str], limit: Path, most: int) -> None:
    """Lower the limit as far as it goes, again and again, until the process is killed.

    It stands still meanwhile: otherwise it reads its own code back as fast as the kernel drops it, for minutes.
    """
    end, now = time.monotonic() + 300, most
    while process.poll() is None:
        process.send_signal(signal.SIGSTOP)
        try:
            while process.poll() is None and now > LESS:
                limit.write_text(str(now - LESS))
                now -= LESS
        except OSError:  # it has more at this moment
            pass
        process.send_signal(signal.SIGCONT)
        assert time.monotonic() < end
        time.sleep(0.5)


def test_a_run_that_the_kernel_has_killed_goes_on(group: tuple[Path, str, str], tmp_path: Path) -> None:
    """The limit falls below what a step needs while it trains; resumed without one, the run is as if left alone."""
    folder, limit, used = group
    process, begun = begin(tmp_path / "killed", 100_000, folder), time.monotonic()
    while not any(len(read_curve(run.curve)) > 2 for run in find_runs(tmp_path / "killed" / "runs")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < begun + 300
        time.sleep(0.05)
    squeeze(process, folder / limit, int((folder / used).read_text()))
    process.communicate()
    assert process.returncode == -9
    (run,) = find_runs(tmp_path / "killed" / "runs")
    assert run.can_resume
    steps = run.last_status().steps + 2
    for again in (
        train(tmp_path / "killed", "--resume", run.path, f"--steps={steps}"),
        begin(tmp_path / "alone", steps),
    ):
        assert again.wait(300) == 0, again.communicate()
    (alone,) = find_runs(tmp_path / "alone" / "runs")
    assert read_curve(run.curve) == read_curve(alone.curve)
    killed, right = (
        read_embedding(tmp_path / name / "runs" / "embeddings" / "zworble.pt") for name in ("killed", "alone")
    )
    assert all(torch.equal(killed.vectors[key], right.vectors[key]) for key in right.vectors)
