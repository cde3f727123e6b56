"""What the page says of a training image because a run has found that it does not go with the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinv_ext.core.messages import Message, message
from tinv_ext.server.queued_run import Job


def odd_images(jobs: Sequence[Job]) -> dict[Path, Message]:
    """By file. Of the `jobs` that are remembered, oldest first, the last that trained on a folder counts for it."""
    found: dict[Path, Message] = {}
    settled: set[Path] = set()
    for job in reversed(jobs):
        with job.lock:
            folders, odd, name = job.image_folders, job.odd, job.config.name
        told = message(
            "server.pulls_back",
            'pulls the word back from what the others teach it (run of "{name}"): it may show something else',
            name=name,
        )
        found.update({path: told for path in odd if path.parent not in settled})
        settled |= folders
    return found
