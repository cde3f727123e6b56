"""A run of very many steps, as the page is shown it in tests and in bench/page.py."""

from __future__ import annotations

from types import SimpleNamespace

from tinv_ext.run.status import Status
from tinv_ext.server.queued_run import Job

STEPS = 10_000


def long_run() -> Job:
    """A run of `STEPS` steps that is still at work, with an evaluation every tenth."""
    config = SimpleNamespace(name="zibbo", names=["zibbo"])
    job = Job("long", config, now=Status("training", STEPS, total=2 * STEPS))  # type: ignore[arg-type]
    row = {"loss": 0.1, "smoothed": 0.1, "rate": 0.005, "vector_norm": 1.0, "distance": 0.0}
    job.curve += [{**row, "step": step, "loss": 0.1 + (step * 37 % 100) / 500} for step in range(1, STEPS + 1)]
    job.evaluations += [(step, 0.2 - step / 100_000) for step in range(0, STEPS, 10)]
    return job
