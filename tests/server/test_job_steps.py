"""The steps of a run that can be had, of each of its words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.job_fixtures import host, jobs, make_pipeline, values  # noqa: F401  (fixtures)
from tests.messages import refused
from tinv_ext.core.errors import InputError
from tinv_ext.core.formats import read_embedding
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run.curve import read_curve
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.server import job_steps
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.queued_run import Job

ONE, OTHER = "zibbo", "quixxly"


@pytest.fixture
def done(jobs: JobQueue, values: dict[str, Any], tmp_path: Path) -> Job:  # noqa: F811
    """A finished run of two words."""
    folder = tmp_path / "others"
    folder.mkdir()
    Image.new("RGB", (64, 64), "yellow").save(folder / "0.png")
    tables = [{"name": OTHER, "images": str(folder)}]
    several = {"words": json.dumps(tables), "save_every": 2, "evaluate_every": 2, "preview_at_first": False}
    job = jobs.submit({**values, "steps": 6, **several})
    assert jobs.wait(job, 120)
    assert job.status == "finished", job.reason
    return job


def step_in(host: DiffusersHost, name: str) -> int | None:  # noqa: F811
    """Which step the file of a word holds."""
    return read_embedding(host.embeddings_folder / f"{name}.pt").step


def test_each_word_has_its_steps_and_its_file(done: Job) -> None:
    """Told by name; of the first where none is named."""
    assert done.view()["words"] == [ONE, OTHER]
    told = {str(one["name"]): one for one in job_steps.words(done)}
    assert {name: one["file"] for name, one in told.items()} == {ONE: "zibbo.pt", OTHER: "quixxly.pt"}
    assert all(one["file_step"] in (2, 4, 6) for one in told.values())
    for name in (ONE, OTHER):
        found = job_steps.snapshots(done, name)
        assert [one["step"] for one in found] == [2, 4, 6]
        assert str(found[0]["file"]).startswith(f"{name}-")
        assert job_steps.embedding_file(done, 4, name).stem == f"{name}-4"
        assert job_steps.embedding_file(done, None, name).name == f"{name}.pt"
    assert job_steps.snapshots(done) == job_steps.snapshots(done, ONE)
    assert job_steps.embedding_file(done, None).name == "zibbo.pt"


def test_each_word_has_its_curve(done: Job) -> None:
    """Its own evaluations, and the best of them; without a word that of the run."""
    rows = read_curve(RunFolder(Path(done.folder or "")).word_curve(OTHER))
    measured = [(int(row["step"]), float(row["evaluation"])) for row in rows if row["evaluation"]]
    shown = job_steps.curve(done, OTHER)
    assert measured
    assert shown.evaluations == measured
    assert shown.best == int([row["best"] for row in rows if row["best"]][-1])
    assert job_steps.curve(done).evaluations == done.evaluations != measured


def test_a_step_of_one_word_is_used(done: Job, jobs: JobQueue, host: DiffusersHost) -> None:  # noqa: F811
    """The other keeps its file; without a word both change, as ever."""
    job_steps.use(jobs, done, 2)
    assert (step_in(host, ONE), step_in(host, OTHER)) == (2, 2)
    assert job_steps.use(jobs, done, 4, OTHER).name == "quixxly.pt"
    assert (step_in(host, ONE), step_in(host, OTHER)) == (2, 4)
    assert (done.used, Path(done.file or "").name) == (2, "zibbo.pt")
    assert [one["file_step"] for one in job_steps.words(done)] == [2, 4]


def test_a_step_of_each_word_is_tried(done: Job, jobs: JobQueue) -> None:  # noqa: F811
    """The same step of two words is two."""
    tried = [job_steps.try_step(jobs, done, 2, name).word for name in ("", OTHER, OTHER)]
    assert tried == ["zibbo-2", "quixxly-2", "quixxly-2"]


def test_another_word_is_refused(done: Job, jobs: JobQueue) -> None:  # noqa: F811
    """Whatever is asked of it, also where it would be a way out of the run's folder."""
    for word in ("zibbox", "../zibbo"):
        for asked in (
            lambda word=word: job_steps.snapshots(done, word),
            lambda word=word: job_steps.curve(done, word),
            lambda word=word: job_steps.embedding_file(done, None, word),
            lambda word=word: job_steps.use(jobs, done, 2, word),
            lambda word=word: job_steps.try_step(jobs, done, 2, word),
        ):
            with refused("server.no_word", InputError, name=ONE, word=word):
                asked()
