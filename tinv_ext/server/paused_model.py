"""The model of a run that is paused, lent to somebody: the run goes on when it is back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tinv_ext.core.messages import message
from tinv_ext.hosts.base import Host
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.job_workers import OWN

Result = TypeVar("Result")
OR_PAUSE_IT = message("server.or_pause_it", "Pause it, stop it, or wait until it is over.")


def with_paused_model(queue: JobQueue, work: Callable[[Host], Result]) -> Result:
    """As `JobQueue.with_model`, also while a run is paused, which does not go on before `work` is done."""
    at_work = next((job for job in queue.active(OWN) if job.status != "queued"), None)
    host = queue.loaded_host() if at_work and at_work.status == "paused" else None
    if at_work and host:
        with at_work.controls.lent:
            if at_work.status == "paused":  # still, and it stays so
                return work(host)
    return queue.with_model(work, OR_PAUSE_IT)
