"""What an earlier program has left: runs that were interrupted, and runs that still waited for their turn."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.messages import message
from tinv_ext.core.settings import DEFAULTS, current_names, overridden
from tinv_ext.run.run_lock import refuse_if_running
from tinv_ext.server.waiting_runs import LeftFiles, WaitingRun, named_model

if TYPE_CHECKING:
    from tinv_ext.server.allowed_paths import PathCheck
    from tinv_ext.server.job_queue import JobQueue
    from tinv_ext.server.queued_run import Job

log = logging.getLogger(__name__)
_LOOK = 10.0  # seconds between two looks
_LEFT = message("server.left_as_it_was", "It was interrupted, and left as it was.")


class LeftRuns:
    """Those of the usual log directory; looked for once in a while. `queue` takes them on again."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue, self._changing = queue, threading.Lock()
        self._files = LeftFiles(Path(queue.placed("")))
        self._looked, self._interrupted = -math.inf, list[dict[str, Any]]()
        self._read, self._waited = -math.inf, list[tuple[Path, WaitingRun]]()
        self._again: set[str] = set()  # those that were queued again
        self._tidied = False

    def interrupted(self) -> list[dict[str, Any]]:
        """The runs that can be resumed after a crash.

        Those that are being resumed, or were since, are left out at once.
        """
        queue = self._queue
        if time.monotonic() - self._looked > _LOOK and not queue.active():
            self._find_interrupted()
        jobs, log_directory = {job.folder for job in queue.all()}, Path(queue.placed(""))
        return [run for run in self._interrupted if str(log_directory / run["id"]) not in jobs]

    def _find_interrupted(self) -> None:
        self._looked = time.monotonic()
        self._interrupted = [
            {key: run[key] for key in ("id", "name", "steps", "total")}
            for run in self._queue.runs(DEFAULTS["output"])
            if run["status"] == "interrupted" and run["can_resume"]
        ]

    def leave(self, id: str, yes: bool = True, confine: PathCheck | None = None) -> None:  # noqa: A002 (as above)
        """Offer an interrupted run no longer: from here on it is one that was stopped; or (not `yes`) again."""
        folder = self._queue.idle_run(str(DEFAULTS["output"]), id, confine)
        refuse_if_running(folder.path)
        now, left = folder.last_status(), _LEFT
        if now.over if yes else (now.status, now.reason) != ("stopped", left):
            raise InputError(message("server.not_interrupted", 'The run "{run}" was not interrupted.', run=id))
        try:
            folder.write_status(replace(now, status="stopped" if yes else "training", reason=left if yes else ""))
        except OSError as error:
            raise HostError(
                message(
                    "server.status_unwritten",
                    'What became of the run "{run}" could not be written ({reason}).',
                    run=id,
                    reason=error.strerror or str(error),
                )
            ) from error
        self._find_interrupted()  # now, even if a run is at work

    def waited(self) -> list[dict[str, Any]]:
        """The runs that waited when their program ended, in the order of their queue: id, name, steps, model."""
        return [
            {"id": run.id, "name": run.name, "steps": run.steps, "model": run.model.get("model_name")}
            for _, run in self._look()
            if not (run.forgotten or run.id in self._again)
        ]

    def queue_again(self, id: str, confine: PathCheck | None = None) -> Job:  # noqa: A002 (the word of the API)
        """Queue one that waited. `InputError` with what is against it; it is offered as before then."""
        with self._changing:
            folder, run = self._entry(id)
            self._refuse_other_model(run)
            if run.run:
                job = self._queue.resume(run.output, run.run, run.settings, confine, run.device)
            else:
                job = self._queue.submit(run.settings, confine, run.device)
            try:
                self._files.remove(folder, id)
            except OSError as error:  # it is queued now, and must not be a second time
                log.warning("%s still lists a run that was queued again: %s", folder, error)
            self._again.add(id)
            self._read = -math.inf
            return job

    def settings_of(self, id: str, confine: PathCheck | None = None) -> dict[str, Any]:  # noqa: A002 (as above)
        """What one that waited was to be trained with, or resumed. `InputError` where it waits no longer."""
        _, run = self._entry(id)
        if not run.run:
            return current_names(run.settings)
        return overridden(self._queue.run(run.output, run.run, confine).config().to_dict(), run.settings)

    def forget(self, id: str, yes: bool = True) -> None:  # noqa: A002 (the word of the API)
        """Offer one no longer, or (not `yes`) again."""
        with self._changing:
            folder, run = self._entry(id)
            try:
                self._files.change(folder, replace(run, forgotten=yes))
            except OSError as error:
                raise HostError(
                    message(
                        "server.left_unchanged",
                        "The list of runs that waited could not be written ({reason}).",
                        reason=error.strerror or str(error),
                    )
                ) from error
            self._read = -math.inf

    def _look(self) -> list[tuple[Path, WaitingRun]]:
        if not self._tidied:
            self._files.tidy()
            self._tidied = True
        if time.monotonic() - self._read > _LOOK:
            self._read, self._waited = time.monotonic(), self._files.read()
        return self._waited

    def _entry(self, id: str) -> tuple[Path, WaitingRun]:  # noqa: A002
        found = next(((folder, run) for folder, run in self._files.read() if run.id == id), None)
        if found is None or id in self._again:
            raise InputError(
                message("server.not_left", "This run is no longer waiting. It was queued again or forgotten.")
            )
        return found

    def _refuse_other_model(self, run: WaitingRun) -> None:
        host = self._queue.loaded_host()
        now = named_model(host.facts) if host else {}
        if any(now.get(key, wanted) != wanted for key, wanted in run.model.items()):
            raise InputError(
                message(
                    "server.left_for_another_model",
                    '"{name}" was queued for the model {wanted}, but {loaded} is loaded. Load {wanted}, then queue it '
                    "again.",
                    name=run.name,
                    wanted=_named(run.model),
                    loaded=_named(now),
                )
            )


def _named(model: Mapping[str, str]) -> str:
    name, its_hash = model.get("model_name", "?"), model.get("model_hash")
    return f"{name} [{its_hash}]" if its_hash else name
