"""A queue of jobs on the tiny model, for the tests of server and page: import what a test needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from diffusers import StableDiffusionPipeline
from PIL import Image

from tests.hosts.conftest import make_pipeline  # noqa: F401  (a fixture)
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run.status import OVER
from tinv_ext.server.job_queue import JobQueue


@pytest.fixture
def host(make_pipeline: Callable[[], StableDiffusionPipeline], tmp_path: Path) -> DiffusersHost:  # noqa: F811
    """A host with the tiny model."""
    return DiffusersHost(make_pipeline(), tmp_path / "embeddings", {"model_name": "tiny"})


@pytest.fixture
def jobs(host: DiffusersHost, tmp_path: Path) -> Iterator[JobQueue]:
    """Jobs of that host, all of them stopped in the end; what waits is kept in the folder of the test."""
    with stopped_in_the_end(JobQueue(lambda: host, tmp_path)) as jobs:
        yield jobs


@contextmanager
def stopped_in_the_end(jobs: JobQueue) -> Iterator[JobQueue]:
    """These jobs, of which none goes on afterwards."""
    yield jobs
    for one in jobs.all():
        if one.status not in OVER:
            jobs.command(one.id, "stop")
            assert jobs.wait(one, 120)


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """Settings of a short run, as JSON."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (64, 64), colour).save(folder / f"{index}.png")
    return {
        "name": "zibbo",
        "images": str(folder),
        "steps": 5,
        "preview_every": 0,
        "preview_at_first": True,
        "output": str(tmp_path / "log"),
        "preview_steps": 2,
    }
