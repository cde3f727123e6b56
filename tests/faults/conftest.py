"""A host of a few lines, settings of a short run, and an operating system that refuses."""

from __future__ import annotations

from tests.test_job import config, host  # noqa: F401  (fixtures)
