"""The page's server in this process, with the tiny model behind it; left out where gradio is not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the page is tested under the WebUI's versions, which have gradio 3.41.2")

from diffusers import StableDiffusionPipeline
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.hosts.conftest import make_pipeline  # noqa: F401  (a fixture)
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run.status import OVER
from tinv_ext.server import api
from tinv_ext.server.job_queue import JobQueue


@pytest.fixture
def host(make_pipeline: Callable[[], StableDiffusionPipeline], tmp_path: Path) -> DiffusersHost:  # noqa: F811
    """A host with the tiny model."""
    return DiffusersHost(make_pipeline(), tmp_path / "embeddings", {"model_name": "tiny"})


@pytest.fixture
def jobs(host: DiffusersHost) -> Iterator[JobQueue]:
    """Jobs of that host, all of them stopped in the end."""
    jobs = JobQueue(lambda: host)
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
        "output": str(tmp_path / "log"),
        "preview_steps": 2,
    }


@pytest.fixture
def client(jobs: JobQueue) -> Callable[..., TestClient]:
    """A client of the routes; its arguments are those of `add_routes`."""

    def make(changing: bool = True, credentials: Any = None, allowed_paths: Any = None) -> TestClient:
        app = FastAPI()
        api.add_routes(app, jobs, changing, credentials, allowed_paths)
        return TestClient(app)

    return make
