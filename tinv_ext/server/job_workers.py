"""Who carries out jobs: those on the program's model one after the other, and likewise those on each other device."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tinv_ext.core.errors import TinvError
from tinv_ext.hosts.base import Host
from tinv_ext.run import runner
from tinv_ext.run.events import Event, Prepared, Report
from tinv_ext.run.status import Status
from tinv_ext.scheduler import steered_run
from tinv_ext.server.estimates import Estimates
from tinv_ext.server.queued_run import Job, Notice, RunRequest

OWN = ""
"""The device of the program's own model, as a job names it."""


class Workers:
    """A thread for each device that has jobs. It takes them from `jobs()` in their order, and ends when none waits.

    `changed` guards the jobs, and hears of each that is over. `host()` is the program as it is now. `keep_waiting()`
    keeps on disk what waits, as a job begins or ends.
    """

    def __init__(
        self,
        changed: threading.Condition,
        jobs: Callable[[], Mapping[str, Job]],
        host: Callable[[], Host],
        estimates: Estimates,
        keep_waiting: Callable[[], None],
    ) -> None:
        self._changed, self._jobs, self._host, self._estimates = changed, jobs, host, estimates
        self._keep_waiting = keep_waiting
        self._threads: dict[str, threading.Thread] = {}

    def wake(self, device: str) -> None:
        """There is a job for a device. Called with `changed` held."""
        thread = self._threads.get(device)
        if thread is None or not thread.is_alive():
            name = f"tinv-jobs {device}".strip()
            self._threads[device] = threading.Thread(target=self._work, args=(device,), name=name, daemon=True)
            self._threads[device].start()

    def _work(self, device: str) -> None:
        while True:
            with self._changed:
                waiting = (job for job in self._jobs().values() if job.device == device and job.request)
                job = next((job for job in waiting if job.status == "queued"), None)
                if job is None:
                    del self._threads[device]
                    return
                with job.lock:
                    if job.request is None:  # stopped in this moment
                        continue
                    request, job.now = job.request, replace(job.now, status="preparing")
                self._keep_waiting()
            status = self._execute(job, request)
            if device == OWN and (seconds := job.seconds_per_step):
                self._estimates.learn(request.host.facts, job.config, seconds)
                self._estimates.keep(Path(job.config.output))
            with self._changed, job.lock:
                job.now, job.request = status, None
                self._changed.notify_all()
            self._keep_waiting()

    def _execute(self, job: Job, request: RunRequest) -> Status:
        """The run to its end, however that comes; a failure is a status, and a bug of ours is also printed."""
        try:
            if request.order:
                return self._elsewhere(job, request, request.order)
            host, report = self._current(request.host), self._report(job)
            if request.resumes:
                return runner.resume_prepared(request.resumes, request.prepared, host, report, job.controls)
            return runner.start(request.prepared, host, report, job.controls)
        except Exception as error:  # noqa: BLE001 (the end of the thread: nobody above would hear it)
            if not isinstance(error, TinvError):
                traceback.print_exc()
            return replace(job.now, status="failed", file=None, reason=runner.failure(error))

    def _elsewhere(self, job: Job, request: RunRequest, order: steered_run.Order) -> Status:
        status = steered_run.carry_out(order, self._report(job), job.controls)
        if status.file:
            try:
                self._current(request.host).refresh_embeddings(job.config.names)  # prompts here are to know it, too
            except TinvError as error:  # no model, or another one: the run is over, and its file is there
                with job.lock:
                    job.notices += [Notice(text, status.steps, warns=True) for text in error.problems]
        return status

    def _report(self, job: Job) -> Report:
        def report(event: Event) -> None:
            job.on_event(event)
            if isinstance(event, Prepared):
                self._keep_waiting()

        return report

    def _current(self, host: Host) -> Host:
        """The host as it is now, where the model is the one that `host` was made for; else that one, which waits."""
        now = self._host()
        return now if dict(now.facts) == dict(host.facts) else host
