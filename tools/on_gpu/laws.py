"""Laws of a whole run on the device: two equal runs are equal, stopped and resumed, or killed and resumed, too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tinv_ext import toy
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.state_contents import step_of
from tinv_ext.core.training.trainer import Step
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import runner
from tinv_ext.run.events import Event, Prepared, RunControls
from tools.on_gpu.results import Place, Row, at_most, deterministic, placed

WORD = "zworble"
SAME = 1e-4  # relative difference of the vectors after the run, with and without graphs
_PATIENCE = 240.0  # seconds that the process to be killed has until its first state
# For cuBLAS to be deterministic; it is read when CUDA begins (docs.nvidia.com/cuda/cublas: Results reproducibility).
WORKSPACE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


def rows(place: Place) -> Iterator[Row]:
    """Equal runs as torch comes, then everything with deterministic kernels, where equal means bit for bit."""
    whole = _run(place, "whole")
    again = _difference(_run(place, "again"), whole)
    yield Row("two equal runs, as torch comes", {"difference": again})
    with deterministic():
        whole = _run(place, "whole")
        yield _equal("two equal runs", _run(place, "again"), whole)
        plain = _run(place, "plain", graphs=False)
        yield at_most("with CUDA graphs against without", {"difference": _difference(whole, plain)}, difference=SAME)
        yield _equal("stopped twice and resumed", _run(place, "stopped", stops=(3, 7)), whole)
        yield _equal("killed and resumed", _killed(place), whole)


def _equal(what: str, one: Tensor, other: Tensor) -> Row:
    figures = {"difference": _difference(one, other)}
    return Row(f"{what}, deterministic kernels", figures, "bit for bit", torch.equal(one, other))


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def _settings(place: Place, folder: str) -> dict[str, Any]:
    images = place.folder / "images"
    if not images.is_dir():
        images.mkdir()
        for index in range(4):
            Image.new("RGB", (64, 64), (60 * index, 200 - 60 * index, 30)).save(images / f"{index} red, blue.png")
    return {
        "name": WORD,
        "images": str(images),
        "output": str(place.folder / folder),
        "width": 64,
        "height": 64,
        "num_vectors": 2,
        "steps": 10,
        "batch_size": 2,
        "seed": 3,
        "template": "subject_filewords",
        "shuffle_tags": True,
        "preview_every": 0,
        "evaluate_every": 0,
        "save_state_every": 2,
        "cache_latents": False,
    }


def _host(place: Place, folder: str, graphs: bool = True) -> DiffusersHost:
    return placed(toy.pipeline(), place, "fp32", f"{folder}/embeddings", graphs)


def _vectors(place: Place, folder: str) -> Tensor:
    return read_embedding(place.folder / folder / "embeddings" / f"{WORD}.pt").vectors["clip_l"]


def _run(place: Place, folder: str, stops: tuple[int, ...] = (), graphs: bool = True) -> Tensor:
    """The vectors of a run that is stopped after these steps, each time resumed by a fresh host."""
    settings = {**_settings(place, folder), "overwrite": True}
    folders: list[Path] = []
    controls = RunControls()

    def report(event: Event) -> None:
        if isinstance(event, Prepared):
            folders.append(event.folder.path)
        if isinstance(event, Step) and event.number in stops:
            controls.stop.set()

    runner.run(TrainConfig.from_dict(settings), _host(place, folder, graphs), report, controls)
    for _ in stops:
        controls.stop.clear()
        runner.resume(folders[0], _host(place, folder, graphs), report=report, controls=controls)
    return _vectors(place, folder)


def _killed(place: Place) -> Tensor:
    """The vectors of a run whose process is killed after its first saved state, resumed here."""
    folder = "killed"
    settings: Mapping[str, Any] = _settings(place, folder)
    given = {"settings": settings, "device": str(place.device), "folder": str(place.folder), "tiny": place.tiny}
    environment = {**os.environ, **WORKSPACE, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-m", "tools.on_gpu.laws", json.dumps(given)], env=environment)
    try:
        run_folder = _wait_for_a_state(place.folder / folder, child)
    finally:
        child.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        child.wait()
    runner.resume(run_folder, _host(place, folder))
    return _vectors(place, folder)


def _wait_for_a_state(output: Path, child: subprocess.Popen[bytes]) -> Path:
    """The run's folder, once there is a state of step 2 or later in it."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and child.poll() is None:
        for state in output.rglob("state.safetensors"):
            if (step_of(state) or 0) >= 2:
                return state.parent
        time.sleep(0.05)
    raise RuntimeError(f"The run to be killed saved no state: it ended with {child.poll()} or took too long.")


def _live(given: Mapping[str, Any]) -> None:
    """Train slowly until killed: each step waits, so that there is time to kill it between two states."""
    place = Place(torch.device(given["device"]), given["tiny"], Path(given["folder"]))
    torch.use_deterministic_algorithms(True)

    def report(event: Event) -> None:
        if isinstance(event, Step) and event.number >= 5:
            time.sleep(60)

    runner.run(TrainConfig.from_dict(given["settings"]), _host(place, "killed"), report)


if __name__ == "__main__":
    _live(json.loads(sys.argv[1]))
