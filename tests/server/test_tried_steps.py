"""Steps that prompts know by a word of their own, without a file: which word, how long, and what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.job_fixtures import host, jobs, make_pipeline, values  # noqa: F401  (fixtures)
from tests.messages import refused
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import InputError
from tinv_ext.core.formats import write_embedding
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.server import job_steps
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.tried_steps import TriedSteps


def embedding(host: DiffusersHost, value: float = 1.0, more: int = 0) -> Embedding:  # noqa: F811
    """A word of one vector, `more` numbers too long."""
    vectors = {key: torch.full((1, width + more), value) for key, width in host.token_table.widths.items()}
    return Embedding(name="zibbo", vectors=vectors)


def words(host: DiffusersHost) -> list[str]:  # noqa: F811
    """Those that prompts know."""
    return sorted(word.name for word in host.known_words())


def test_a_step_of_a_run_in_progress_is_tried_and_forgotten(
    jobs: JobQueue,  # noqa: F811
    host: DiffusersHost,  # noqa: F811
    values: dict[str, Any],  # noqa: F811
) -> None:
    """The run goes on; twice the same step is the same word; no file is written."""
    job = jobs.submit({**values, "steps": 100_000, "save_every": 2})
    while not job_steps.snapshots(job):
        jobs.wait(job, 0.1)
    step = int(str(job_steps.snapshots(job)[0]["step"]))
    tried = job_steps.try_step(jobs, job, step)
    assert job_steps.try_step(jobs, job, step) == tried
    assert tried.word == f"zibbo-{step}"
    assert (words(host), jobs.tried.all()) == ([tried.word], [(tried, True)])
    assert not job.now.over
    assert not list(host.embeddings_folder.glob("*"))
    jobs.tried.forget(tried.word)
    assert (words(host), jobs.tried.all()) == ([], [])
    with refused("server.no_tried", InputError, word=tried.word):
        jobs.tried.forget(tried.word)


def test_words_are_free_ones_and_go_with_their_run(host: DiffusersHost, tmp_path: Path) -> None:  # noqa: F811
    """A file of that name keeps it; a run that is thrown away takes its words along; all can be forgotten."""
    host.embeddings_folder.mkdir(exist_ok=True)
    write_embedding(embedding(host), host.embeddings_folder / "zibbo-5.pt")
    host.refresh_embeddings()
    steps = TriedSteps(lambda: host)
    assert steps.add(tmp_path / "one", "zibbo", 5, embedding(host, 2.0)).word == "zibbo-5-2"
    assert steps.add(tmp_path / "other", "zibbo", 5, embedding(host, 3.0)).word == "zibbo-5-3"
    steps.forget_run(tmp_path / "one")
    assert words(host) == ["zibbo-5", "zibbo-5-3"]
    host.refresh_embeddings()
    assert words(host) == ["zibbo-5", "zibbo-5-3"]
    steps.forget_all()
    assert words(host) == ["zibbo-5"]


def test_what_no_prompt_can_use_is_refused(host: DiffusersHost, tmp_path: Path) -> None:  # noqa: F811
    """A step of another family, and any step while there is no model; what was tried before stays."""
    steps = TriedSteps(lambda: host)
    first = steps.add(tmp_path, "zibbo", 5, embedding(host))
    with refused("server.step_does_not_fit", InputError, step=7, name="zibbo"):
        steps.add(tmp_path, "zibbo", 7, embedding(host, more=3))
    assert steps.all() == [(first, True)]
    with refused("server.no_model_yet", InputError):
        TriedSteps(lambda: None).add(tmp_path, "zibbo", 7, embedding(host))


@pytest.mark.parametrize("known", [True, False])
def test_whether_prompts_know_a_word_now_is_told(host: DiffusersHost, tmp_path: Path, known: bool) -> None:  # noqa: F811
    """Another model may have been loaded meanwhile."""
    now: list[DiffusersHost | None] = [host]
    steps = TriedSteps(lambda: now[0])
    tried = steps.add(tmp_path, "zibbo", 5, embedding(host))
    if not known:
        now[0] = None
    assert steps.all() == [(tried, known)]
