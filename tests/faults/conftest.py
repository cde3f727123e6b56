"""A host of a few lines, settings of a short run, and an operating system that refuses."""

from __future__ import annotations

from tests.run.test_runner import config, host  # noqa: F401  (fixtures)
