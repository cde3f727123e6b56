"""Runs as jobs of the server: queued, carried out one at a time, watched and steered by whoever knows their id.

A job lives in this process, not in a browser's request; page and API look at the same one. Nothing here touches torch.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.settings import DEFAULTS, TrainConfig, current_names, overridden
from tinv_ext.core.training.trainer import Step
from tinv_ext.hosts.base import Host
from tinv_ext.run import dry_run, preflight, run_folder, runner
from tinv_ext.run.events import Encoded, Evaluated, Event, Noticed, Prepared, RunControls, Wrote
from tinv_ext.run.run_folder import OVER, Status
from tinv_ext.server.allowed_paths import PathCheck
from tinv_ext.server.templates import Templates

log = logging.getLogger(__name__)
WISHES = ("stop", "pause", "resume", "snapshot", "preview")
SMOOTHING = 0.98  # of the loss shown: about the last fifty steps
_LOOK = 10.0  # seconds between two looks for interrupted runs
_KEPT = 50  # jobs that are over and still remembered


@dataclass
class Job:
    """One job as others see it. Its lock guards every field; `view()` is a consistent copy."""

    id: str
    config: TrainConfig
    resumes: Path | None = None
    now: Status = field(default_factory=lambda: Status("queued", 0))
    folder: str | None = None
    encoded: tuple[int, int] = (0, 0)
    seconds_left: float | None = None
    loss: float | None = None
    prompts: tuple[str, ...] = ()
    notices: list[str] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    previews: list[tuple[int, str]] = field(default_factory=list)
    controls: RunControls = field(default_factory=RunControls)
    lock: threading.Lock = field(default_factory=threading.Lock)
    _paces: list[tuple[float, int]] = field(default_factory=list)

    @property
    def status(self) -> str:
        """The word for how it stands; a stop that was wished is on its way."""
        return "stopping" if self.controls.stop.is_set() and not self.now.over else self.now.status

    @property
    def steps(self) -> int:
        """Optimizer steps really done."""
        return self.now.steps

    @property
    def reason(self) -> str:
        """Why it is paused or stopped or has failed."""
        return self.now.reason

    @property
    def file(self) -> str | None:
        """The embedding really written."""
        return self.now.file

    def view(self, since: int = 0) -> dict[str, Any]:
        """What there is to show, as JSON can hold it; of the curve only the steps after `since`. No paths."""
        with self.lock:
            return {
                "id": self.id,
                "name": self.config.name,
                "status": self.status,
                "reason": self.now.reason,
                "steps": self.now.steps,
                "total": self.now.total,
                "file": Path(self.now.file).name if self.now.file else None,
                "encoded": list(self.encoded),
                "seconds_left": self.seconds_left,
                "loss": self.loss,
                "prompts": list(self.prompts),
                "notices": list(self.notices),
                "curve": [row for row in self.curve if row["step"] > since],
                "evaluations": [list(one) for one in self.evaluations if one[0] >= since],
                "previews": [step for step, _ in self.previews],
            }

    def hear(self, event: Event) -> None:
        """Take in what the run tells."""
        with self.lock:
            if isinstance(event, Prepared):
                self.notices += event.prepared.notices
                self.folder = str(event.folder.path)
            elif isinstance(event, Status):
                if event.status != self.now.status:
                    self._paces.clear()
                self.now = event
            elif isinstance(event, Noticed):
                self.notices.append(event.text)
            elif isinstance(event, Encoded):
                self.encoded = (event.done, event.total)
            elif isinstance(event, Evaluated):
                self.evaluations.append((event.step, event.loss))
            elif isinstance(event, Wrote) and event.kind == "preview":
                self.previews.append((event.step, str(event.path)))
            elif isinstance(event, Step):
                self._step(event)

    def _step(self, step: Step) -> None:
        self.now, self.prompts = replace(self.now, steps=step.number), step.prompts
        self.loss = step.loss if self.loss is None else SMOOTHING * self.loss + (1 - SMOOTHING) * step.loss
        row = {"step": step.number, "loss": step.loss, "smoothed": self.loss, "rate": step.rate}
        norms = {"gradient_norm": step.gradient_norm, "vector_norm": step.vector_norm, "distance": step.distance}
        self.curve.append({**row, **norms})
        self._paces = [*self._paces[-200:], (time.monotonic(), step.number)]
        (begun, first), (now, last) = self._paces[0], self._paces[-1]
        self.seconds_left = (now - begun) / (last - first) * (self.now.total - last) if last > first else None


class JobQueue:
    """The jobs of one host. `host()` gives it when it is needed, so that nothing is touched while the WebUI starts.

    A log directory that is not absolute lies below `home`, by default the folder that the program was started in.
    `templates` are the prompt templates that can be chosen by name.
    """

    def __init__(self, host: Callable[[], Host], home: Path = Path(), templates: Templates | None = None) -> None:
        self._host = host
        self._home = home
        self.templates = templates or Templates(home / "textual_inversion_templates")
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._worker: threading.Thread | None = None
        self._looked, self._interrupted = -math.inf, list[dict[str, Any]]()

    def placed(self, output: str) -> str:
        """The log directory that is meant by `output`, the usual one if it is empty."""
        return str(self._home / path_given(output or str(DEFAULTS["output"])))

    def check(self, values: Mapping[str, Any], confine: PathCheck | None = None) -> PreparedRun:
        """What a run of these settings would do. Forbidden places are told before anything is opened."""
        current = current_names(values)
        places = {"output": self.placed(str(current.get("output") or ""))}
        if isinstance(current.get("template"), str):
            places["template"] = self.templates.place(current["template"])
        values = overridden(values, places)
        outside = confine(values) if confine else []
        if outside:
            raise InputError(outside)
        host = self._host()
        return preflight.check(preflight.configure(values, host), host)

    def examine(self, values: Mapping[str, Any], confine: PathCheck | None = None) -> PreparedRun:
        """As `check`, with a step tried out on the model, unless a run has it."""
        found = self.check(values, confine)
        if any(one.status not in OVER for one in self.all()):
            return replace(found, notices=(*found.notices, "No step was tried out, because a run is at work."))
        return dry_run.examine(found.config, self._host())

    def submit(self, values: Mapping[str, Any], confine: PathCheck | None = None) -> Job:
        """Check the settings and queue a run of them. `InputError` has every problem, and nothing is queued."""
        config = self.check(values, confine).config
        taken = [one.config.name for one in self.all() if one.status not in OVER and one.config.name == config.name]
        if taken:
            raise InputError(
                f'A run of "{config.name}" is under way or queued. Wait for it, stop it, or choose a name.'
            )
        return self._add(Job(uuid.uuid4().hex, config))

    def logs(self) -> set[Path]:
        """The usual log directory, and those of the jobs."""
        return {self._home / DEFAULTS["output"], *(Path(one.config.output) for one in self.all())}

    def runs(self, output: str) -> list[dict[str, Any]]:
        """The runs in a log directory, newest first: id, name, status and steps. No paths.

        One that says that it is at work, but is no job here, was interrupted: by a crash, or the program's end.
        """
        here = {one.folder for one in self.all() if one.status not in OVER}
        found = []
        for folder in run_folder.find(Path(self.placed(output))):
            try:
                name, status = folder.config().name, folder.last_status()
            except TinvError as error:
                log.warning("%s", error)
                continue
            at_work = str(folder.path) in here
            said = status.status if at_work or status.over else "interrupted"
            entry = {"id": folder.id, "name": name, "status": said, "steps": status.steps, "total": status.total}
            found.append({**entry, "can_resume": folder.can_resume and not at_work, "reason": status.reason})
        return found

    def resume(self, output: str, id: str, changes: Mapping[str, Any], confine: PathCheck | None = None) -> Job:  # noqa: A002
        """Queue the going on of a run of a log directory. `InputError` has every problem, and nothing is queued."""
        place = self.placed(output)
        outside = [*confine({"output": place}), *confine(changes)] if confine else []
        if outside:
            raise InputError(outside)
        folder = next((one for one in run_folder.find(Path(place)) if one.id == id), None)
        if folder is None:
            raise InputError(f'There is no run "{id}" in the log directory "{output}". Look at the list of runs again.')
        if str(folder.path) in {one.folder for one in self.all() if one.status not in OVER}:
            raise InputError(f'The run "{id}" is at work. If it is paused, resume its job.')
        found = preflight.prepare_resume(folder.path, self._host(), changes)
        if isinstance(found, Status):
            raise InputError(f'The run "{id}" is {found.status}. Give it more steps (steps) to go on.')
        return self._add(Job(uuid.uuid4().hex, found.config, resumes=folder.path, folder=str(folder.path)))

    def interrupted(self) -> list[dict[str, Any]]:
        """The runs of the usual log directory that could go on after a crash; looked for once in a while."""
        if time.monotonic() - self._looked > _LOOK and not any(one.status not in OVER for one in self.all()):
            self._looked = time.monotonic()
            self._interrupted = [
                {key: one[key] for key in ("id", "name", "steps", "total")}
                for one in self.runs(DEFAULTS["output"])
                if one["status"] == "interrupted" and one["can_resume"]
            ]
        return self._interrupted

    def _add(self, one: Job) -> Job:
        with self._changed:
            over = [key for key, other in self._jobs.items() if other.status in OVER]
            for key in over[: max(0, len(over) - _KEPT)]:
                del self._jobs[key]
            self._jobs[one.id] = one
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, name="tinv-jobs", daemon=True)
                self._worker.start()
            self._changed.notify_all()
        return one

    def all(self) -> list[Job]:
        """Every job that is remembered, oldest first."""
        with self._changed:
            return list(self._jobs.values())

    def get(self, id: str) -> Job:  # noqa: A002 (the word of the API)
        """The job of an id. `InputError` if there is none."""
        with self._changed:
            if id not in self._jobs:
                raise InputError(f'There is no job "{id}". It may be from before the program was started anew.')
            return self._jobs[id]

    def current(self) -> Job | None:
        """The job being carried out, else the last that was."""
        busy = [one for one in self.all() if one.status not in OVER and one.status != "queued"]
        return busy[0] if busy else next((one for one in reversed(self.all()) if one.status in OVER), None)

    def wish(self, id: str, what: str) -> Job:  # noqa: A002
        """Ask something of a job: one of `WISHES`. `InputError` if it cannot be had."""
        one = self.get(id)
        if what not in WISHES:
            raise InputError(f'A job cannot be asked to "{what}". Ask for one of: {", ".join(WISHES)}.')
        with one.lock:
            if one.status in OVER:
                raise InputError(f"The run is over ({one.status}); it cannot {what}.")
            if what == "resume":
                one.controls.pause.clear()
            else:
                getattr(one.controls, what).set()
            if what == "stop" and one.now.status == "queued":
                one.now = Status("stopped", one.now.steps, reason="It was stopped before it began.")
        return one

    def wait(self, one: Job, seconds: float) -> bool:
        """Whether the job is over within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: one.status in OVER, seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                waiting = [one for one in self._jobs.values() if one.status == "queued"]
                if not waiting:
                    self._worker = None
                    return
                one = waiting[0]
                one.now = replace(one.now, status="preparing")
            status = self._execute(one)
            with self._changed, one.lock:
                one.now = status
                self._changed.notify_all()

    def _execute(self, one: Job) -> Status:
        """The run to its end, however that comes; a failure is a status, and a bug of ours is also printed."""
        try:
            if one.resumes:
                changes = one.config.to_dict()
                return runner.resume(one.resumes, self._host(), changes, one.hear, one.controls)
            return runner.run(one.config, self._host(), one.hear, one.controls)
        except Exception as error:  # noqa: BLE001 (the end of the thread: nobody above would hear it)
            if not isinstance(error, TinvError):
                traceback.print_exc()
            return replace(one.now, status="failed", file=None, reason=runner.failure(error))
