"""`make gpu` where there is no GPU: all its parts run small, and its table tells what failed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.paths import ROOT
from tools import gpu
from tools.on_gpu import carried, speed
from tools.on_gpu.live_bytes import LiveBytes
from tools.on_gpu.results import Place, Row, at_least, at_most, table


def place(folder: Path, seconds: float = 60.0) -> Place:
    """The CPU, small."""
    return Place(torch.device("cpu"), True, folder, time.monotonic() + seconds)


def test_a_part_that_fails_is_a_row(tmp_path: Path) -> None:
    """The parts after it go on; one that there is no time for is left out and said so."""
    failed, took = gpu.rows_of("results", place(tmp_path))  # has no rows
    assert (failed.good, failed.figures["error"].partition(":")[0]) == (False, "AttributeError")
    assert took.what == "time"
    (late,) = gpu.rows_of("speed", place(tmp_path, -1.0))
    assert late.figures == {"left out": "no time"}


def test_the_table_tells_what_is_not_met() -> None:
    """Figures with their bars; a figure that is no number meets none."""
    nan = float("nan")
    rows = [at_most("a", {"x": 2.0}, x=1), at_most("b", {"x": 1.0}, x=1), at_least("c", {"x": nan}, x=1), Row("d")]
    assert [row.good for row in rows] == [False, True, False, None]
    text = table({"part": rows})
    assert text.count("**NOT MET**") == 2
    assert "| part | b | x 1 | x ≤ 1 | met |" in text


def test_live_tensors_are_counted_until_they_are_gone() -> None:
    """Each storage once, views not at all; above the limit it ends as an allocator does, which fallbacks recognise."""
    with LiveBytes() as live:
        one = torch.zeros(1000)
        seen = one.view(10, 100)
        other = one + 1
        assert (live.now, live.peak) == (8000, 8000)
        del one, seen
        assert live.now == 4000
        del other
        assert (live.now, live.peak) == (0, 8000)
    with pytest.raises(torch.cuda.OutOfMemoryError), LiveBytes(limit=6000) as live:
        torch.zeros(1000) + 1
    assert live.peak == 4000


@pytest.mark.slow
def test_flops_are_those_of_the_layers() -> None:
    """Twice the batch is counted by the caller; twice the side is about four times the work."""
    small = speed.flops(speed.Case("sd15", 64, 1, "fp32"), narrow=True)
    large = speed.flops(speed.Case("sd15", 256, 1, "fp32"), narrow=True)
    assert small > 1e8
    assert 3 < large / small < 64


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that runs everything on a CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "--device cpu --tiny" in capsys.readouterr().err


@pytest.mark.slow
def test_all_of_it_runs_small_on_a_cpu(tmp_path: Path) -> None:
    """In a process of its own, as `make gpu` starts it: every part has rows, and no bar is missed.

    The ladder is climbed: every rung teaches the same vectors within its limit, and too little ends in the sentence.
    """
    command = [sys.executable, "tools/gpu.py", "--device", "cpu", "--tiny", "--minutes", "60"]
    ran = subprocess.run([*command, "--json", str(tmp_path / "gpu.json")], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    written = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert set(written["rows"]) == set(gpu.PARTS)
    assert all(len(rows) >= 2 for rows in written["rows"].values())
    assert written["machine"]["device"] == "cpu"
    ladder = written["rows"]["memory_ladder"][:4]
    assert [row["good"] for row in ladder] == [None, True, True, True]
    assert ladder[2]["figures"]["given up"] > ladder[1]["figures"]["given up"] >= 1


HAS = ("torch", "transformers", "accelerate", "safetensors", "tokenizers", "pillow", "pytest")


@pytest.mark.slow
def test_what_is_carried_along_suffices(tmp_path: Path) -> None:
    """With the packages of such a machine and what those need, and diffusers from the folder alone."""
    assert carried.carry(tmp_path / "packages") < 20 * 2**20
    there = tmp_path / "site-packages"
    there.mkdir()
    for name in {name for package in HAS for name in needed(package)}:
        link(name, there)
    assert (there / "torch").exists()
    assert not (there / "diffusers").exists()
    flags = ["--device", "cpu", "--tiny", "--parts", "graphs", "--packages", str(tmp_path / "packages")]
    ran = subprocess.run(
        [sys.executable, "-S", "tools/gpu.py", *flags, "--json", str(tmp_path / "gpu.json")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(there)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]


def link(package: str, folder: Path) -> None:
    """Put an installed package, with its metadata, into a folder; nothing where it is not installed."""
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:  # of another platform
        return
    for top in {
        file.parts[0] for file in found.files or () if ".." not in file.parts and file.parts[0] != "__pycache__"
    }:
        target = folder / top
        if not target.exists():
            target.symlink_to(Path(str(found.locate_file(top))).resolve())


def needed(package: str, seen: frozenset[str] = frozenset()) -> frozenset[str]:
    """A package with all that it requires, without extras, by their plain names."""
    name = _plain(package)
    if name in seen:
        return seen
    seen |= {name}
    try:
        lines = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:  # of another platform
        return seen
    for line in lines:
        if "extra ==" not in line:
            seen |= needed(re.split(r"[^\w.-]", line, maxsplit=1)[0], seen)
    return seen


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
