"""A queue of jobs on the tiny model."""

from __future__ import annotations

from tests.job_fixtures import host, jobs, make_pipeline, values  # noqa: F401  (fixtures)
