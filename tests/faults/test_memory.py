"""Memory that runs out once, at any tensor operation of a run on a real diffusers pipeline: the run finishes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from tests.hosts.diffusers import small_pipelines
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training import gradients
from tinv_ext.core.training.state import State
from tinv_ext.hosts.diffusers.host import DiffusersHost, PipelineModel
from tinv_ext.run import evaluations, run_folder, runner
from tinv_ext.run.events import Event, Noticed

pytestmark = pytest.mark.once

PARTS: dict[str, tuple[Any, str]] = {
    "encode": (PipelineModel, "encode_images"),
    "forward": (gradients, "compute"),
    "backward": (torch.Tensor, "backward"),
    "optimizer": (State, "update"),
    "evaluation": (evaluations, "draw_losses"),
    "preview": (DiffusersHost, "generate"),
}


class Scarce(TorchDispatchMode):
    """Tensor operations of which the one of a number, counted from 1, finds no memory."""

    def __init__(self, fails: int = 0) -> None:
        super().__init__()
        self.fails, self.count = fails, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        if self.count == self.fails:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
        return func(*args, **(kwargs or {}))


@dataclasses.dataclass
class Bench:
    """A run that can be made again and again, under a scarcity of memory."""

    host: DiffusersHost
    config: TrainConfig

    def run(self, mode: Scarce) -> tuple[torch.Tensor, list[str]]:
        """The vectors of a finished run, and what was noticed on its way."""
        noticed: list[str] = []

        def report(event: Event) -> None:
            if isinstance(event, Noticed):
                noticed.append(event.text)

        with mode:
            status = runner.run(self.config, self.host, report)
        assert status.status == "finished"
        return read_embedding(Path(str(status.file))).vectors["clip_l"], noticed


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two steps of two pictures each, with everything that happens around them."""
    folder = tmp_path_factory.mktemp("memory")
    (folder / "images").mkdir()
    for index in range(2):
        Image.new("RGB", (64, 64), (90 * index, 200 - 60 * index, 30)).save(folder / "images" / f"{index}.png")
    few = {
        "preset": "classic",  # whose forward and backward pass have a function each
        "steps": 2,
        "batch_size": 2,
        "width": 64,
        "height": 64,
        "preview_steps": 1,
        "preview_at_first": True,
        "preview_every": 0,
        "evaluation_timesteps": 1,
    }
    beside = {"preview_every": 2, "evaluate_every": 2, "save_every": 2, "save_state_every": 1, "cache_latents": False}
    given = {"name": "zibbo", "num_vectors": 2, "images": str(folder / "images"), "output": str(folder / "runs")}
    config = TrainConfig.from_dict({**given, **few, **beside, "overwrite": True})
    return Bench(DiffusersHost(small_pipelines.sd1(), folder / "embeddings", {"model_name": "tiny"}), config)


@pytest.fixture(scope="module")
def numbers(bench: Bench) -> dict[str, list[int]]:
    """The numbers of the operations of each part, counted in a run with room enough."""
    mode, parts = Scarce(), {part: [] for part in PARTS}  # type: ignore[var-annotated]
    with counting(mode, parts):
        bench.run(mode)
    inside = {number for part in parts.values() for number in part}
    return {**parts, "the rest": [number for number in range(1, mode.count + 1) if number not in inside]}


@contextmanager
def counting(mode: Scarce, parts: dict[str, list[int]]) -> Iterator[None]:
    """While open, the operations of each part are noted."""
    with pytest.MonkeyPatch.context() as patch:
        for part, (owner, name) in PARTS.items():
            patch.setattr(owner, name, noting(getattr(owner, name), mode, parts[part]))
        yield


def noting(act: Callable[..., Any], mode: Scarce, found: list[int]) -> Callable[..., Any]:
    """The same function, noting which operations are its own."""

    def noted(*args: Any, **kwargs: Any) -> Any:
        before = mode.count
        try:
            return act(*args, **kwargs)
        finally:
            found.extend(range(before + 1, mode.count + 1))

    return noted


@pytest.fixture(scope="module")
def right(bench: Bench) -> torch.Tensor:
    """The vectors of a run with room enough, in which nothing was noticed."""
    vectors, noticed = bench.run(Scarce())
    assert noticed == []
    return vectors


@pytest.mark.parametrize("share", [1, pytest.param(15, marks=pytest.mark.full)])
@pytest.mark.parametrize("part", [*PARTS, "the rest"])
def test_memory_that_runs_out_once_ends_no_run(
    bench: Bench, numbers: dict[str, list[int]], right: torch.Tensor, part: str, share: int
) -> None:
    """In each part, `share` operations evenly spread: the vectors are equal bit for bit, and nothing is given up."""
    own = numbers[part]
    assert own
    for index in range(share):
        number = own[(2 * index + 1) * len(own) // (2 * share)]
        vectors, noticed = bench.run(Scarce(number))
        assert torch.equal(vectors, right), f"operation {number}"
        assert noticed == [], f"operation {number}"
    assert run_folder.find_runs(Path(bench.config.output))
