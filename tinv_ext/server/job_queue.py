"""Runs as jobs of the server: queued, carried out one at a time, watched and controlled by whoever knows their id.

A job lives in this process, not in a browser's request; page and API look at the same one. The work itself is in
`run/runner.py`.

A run is checked when it is submitted, and trained as it was checked: the job keeps what was prepared, and the host that
belongs to the model of then. When its turn comes, `runner` refuses it where its images have changed or its name was
taken meanwhile; where another model is loaded, it pauses until the right one is back.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tinv_ext.core.data.image_index import known_images
from tinv_ext.core.data.images import FITTED_BYTES, TrainingImage
from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.messages import message
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.settings import DEFAULTS, TrainConfig, current_names, overridden
from tinv_ext.hosts.base import Host
from tinv_ext.run import dry_run, preflight
from tinv_ext.run.resume import prepare_resume
from tinv_ext.run.run_folder import RunFolder, find_runs
from tinv_ext.run.status import OVER, Status
from tinv_ext.scheduler.devices import Device, cuda_devices
from tinv_ext.server.allowed_paths import PathCheck, is_remote, refuse_paths, refuse_sources
from tinv_ext.server.estimates import Estimates
from tinv_ext.server.job_workers import OWN, Workers
from tinv_ext.server.left_runs import LeftRuns
from tinv_ext.server.other_devices import beside, chosen, elsewhere, ordered
from tinv_ext.server.presets import Presets
from tinv_ext.server.queued_run import Job, RunRequest
from tinv_ext.server.run_list import listed, run_of
from tinv_ext.server.templates import Templates
from tinv_ext.server.tried_steps import TriedSteps
from tinv_ext.server.waiting_runs import WaitingFile, waiting_run

log = logging.getLogger(__name__)
Result = TypeVar("Result")
OR_STOP_IT = message("server.or_stop_it", "Wait until it is over, or stop it.")
COMMANDS = ("stop", "pause", "resume", "snapshot", "preview")
PATIENCE = 2.0  # seconds in which most steps end
_GLANCE = 0.5  # seconds between two looks whether a job is over, so that signals are heard in between
_KEPT = 50  # jobs that are over and still remembered


class JobQueue:
    """The jobs of one host. `host()` gives it when it is needed, so that nothing is touched while the WebUI starts.

    A log directory that is not absolute lies below `home`, by default the folder that the program was started in.
    `templates` are the prompt templates that can be chosen by name. `is_loaded()` says whether `host()` need not load a
    model first. `devices()` are those of this machine; a run can be told to train on one that is not the host's own.
    """

    def __init__(
        self,
        host: Callable[[], Host],
        home: Path = Path(),
        templates: Templates | None = None,
        is_loaded: Callable[[], bool] = lambda: True,
        devices: Callable[[], Sequence[Device]] = cuda_devices,
    ) -> None:
        self._host = host
        self._is_loaded = is_loaded
        self._devices = devices
        self._home = home
        self.estimates = Estimates()
        self.templates = templates or Templates(home / "textual_inversion_templates")
        self.presets = Presets(home / "textual_inversion_presets")
        self.tried = TriedSteps(self.loaded_host)
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._workers = Workers(self._changed, lambda: self._jobs, host, self.estimates, self._keep_waiting)
        self._ends = False
        self.left = LeftRuns(self)
        self.left_waiting = 0  # how many runs waited when the program ended
        self._waiting_file = WaitingFile(Path(self.placed("")))
        self._preparing = threading.Lock()  # held by who checks a run, so that two never try out steps on one model
        self._known_images: Mapping[Path, TrainingImage] = {}  # those of the last check: Train comes after Check

    @property
    def home(self) -> Path:
        """The data folder."""
        return self._home

    def loaded_host(self) -> Host | None:
        """The host, where it is there without loading a model. HostError where it is one that cannot be trained."""
        return self._host() if self._is_loaded() else None

    def with_places(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Settings with the log directory and the template that they mean."""
        current = current_names(values)
        places = {"output": self.placed(str(current.get("output") or "")), **self.templates.places(current)}
        return overridden(values, places)

    def placed(self, output: str) -> str:
        """The log directory that is meant by `output`, the usual one if it is empty."""
        if is_remote(output):
            return output  # to be refused as it was entered
        return str(self._home / path_given(output or str(DEFAULTS["output"])))

    def check_paths(self, values: Mapping[str, Any], confine: PathCheck | None = None) -> None:
        """`InputError` where the settings name a path that may not be opened; what is not local never is unasked."""
        refuse_paths(values, confine)

    def check(self, values: Mapping[str, Any], confine: PathCheck | None = None) -> PreparedRun:
        """What a run of these settings would do. Forbidden places are told before anything is opened."""
        with self._preparing:
            return self._request(values, confine).prepared

    def _request(self, values: Mapping[str, Any], confine: PathCheck | None, device: str = OWN) -> RunRequest:
        values = self.with_places(values)
        self.check_paths(values, confine)
        refuse_sources(values, confine)
        host = self._host()
        other = chosen(device, host, self._devices) if device else None
        trained_by = elsewhere(host) if other else host
        config = preflight.parse_settings(values, trained_by)
        prepared = preflight.prepare_run(config, trained_by, self._known_images, self._room(device))
        self._known_images = known_images(image.picture for image in prepared.images)
        return ordered(RunRequest(prepared, host), other)

    def other_devices(self) -> list[Device]:
        """Where a run can train beside the program's own model: nowhere as long as none is loaded from files."""
        host = self.loaded_host()
        try:
            return beside(host.model_files.device, self._devices()) if host else []
        except HostError as error:
            log.info("There is no other device to choose: %s", error)
            return []

    def examine(self, values: Mapping[str, Any], confine: PathCheck | None = None, device: str = OWN) -> PreparedRun:
        """As `check`, with some steps tried out on the model, unless a run has it or a copy is to be trained."""
        with self._preparing:
            request = self._request(values, confine, device)
            if device:
                notice = message(
                    "server.not_tried_out_there",
                    "No step was tried out, because the run will train on {device}.",
                    device=device,
                )
                return replace(request.prepared, notices=(*request.prepared.notices, notice))
            if self.active(OWN):
                notice = message("server.not_tried_out", "No step was tried out, because a run is in progress.")
                return replace(request.prepared, notices=(*request.prepared.notices, notice))
            learn = partial(self.estimates.learn_tried, request.host.facts, request.prepared.config)
            return dry_run.examine(request.prepared, request.host, learn)

    def submit(self, values: Mapping[str, Any], confine: PathCheck | None = None, device: str = OWN) -> Job:
        """Check the settings and queue a run of them. `InputError` has every problem, and nothing is queued.

        `device` is one of `other_devices`, by name, where a copy of the model is to be trained there.
        """
        with self._preparing:  # until it is queued: a check that begins then finds it
            request = self._request(values, confine, device)
            self._refuse_used(request.prepared.config)
            return self._add(Job(uuid.uuid4().hex, request.prepared.config, request, values, device=device))

    def _refuse_used(self, config: TrainConfig) -> None:
        """`InputError` where a word is being learnt: the run that ends last would replace the other's embedding."""
        used = {name.lower() for job in self.active() for name in job.config.names}  # as file names are compared
        if taken := [name for name in config.names if name.lower() in used]:
            raise InputError(
                message(
                    "server.name_in_use",
                    'A run of "{name}" is in progress or queued. Wait for it, stop it, or choose another name.',
                    name=taken[0],
                )
            )

    def active(self, device: str | None = None) -> list[Job]:
        """Jobs that are not over, of one device or of all: those at work, and those that wait, in their order."""
        jobs = [job for job in self.all() if job.status not in OVER]
        return [job for job in jobs if device is None or job.device == device]

    def _room(self, device: str) -> int:
        """Bytes of decoded images that a new job may keep: none where it has to wait, or trains in another process."""
        return 0 if device or self.active(OWN) else FITTED_BYTES

    def logs(self) -> set[Path]:
        """The usual log directory, and those of the jobs."""
        return {self._home / DEFAULTS["output"], *(Path(job.config.output) for job in self.all())}

    def runs(self, output: str) -> list[dict[str, Any]]:
        """The runs in a log directory, newest first: see `listed`."""
        return listed(find_runs(Path(self.placed(output))), {job.folder for job in self.active()})

    def run(self, output: str, id: str, confine: PathCheck | None = None) -> RunFolder:  # noqa: A002
        """A run of a log directory. `InputError` where there is none, or where nobody may look."""
        log_directory = self.placed(output)
        self.check_paths({"output": log_directory}, confine)
        return run_of(Path(log_directory), id, output)

    def idle_run(self, output: str, id: str, confine: PathCheck | None = None) -> RunFolder:  # noqa: A002
        """As `run`. `InputError` also where a job of this program has the run."""
        folder = self.run(output, id, confine)
        if str(folder.path) in {job.folder for job in self.active()}:
            raise InputError(
                message(
                    "server.run_in_progress",
                    'The run "{run}" is in progress, or paused. Resume it where it is watched, or stop it first.',
                    run=id,
                )
            )
        return folder

    def resume(
        self,
        output: str,
        id: str,  # noqa: A002 (the word of the API)
        changes: Mapping[str, Any],
        confine: PathCheck | None = None,
        device: str = OWN,
    ) -> Job:
        """Queue the resuming of a run of a log directory. `InputError` has every problem, and nothing is queued."""
        with self._preparing:
            self.check_paths({"output": self.placed(output)}, confine)
            self.check_paths(changes, confine)
            refuse_sources(changes, confine)
            folder, host = self.idle_run(output, id, confine), self._host()
            other = chosen(device, host, self._devices) if device else None
            trained_by = elsewhere(host) if other else host
            prepared = prepare_resume(folder.path, trained_by, changes, self._known_images, self._room(device))
            if isinstance(prepared, Status):
                raise InputError(
                    message(
                        "server.run_over",
                        'The run "{run}" is {status}. Give it more steps (steps) to resume it.',
                        run=id,
                        status=prepared.status,
                    )
                )
            self._refuse_used(prepared.config)
            request = ordered(RunRequest(prepared, host, folder.path), other)
            place = str(folder.path)
            return self._add(Job(uuid.uuid4().hex, prepared.config, request, changes, folder=place, device=device))

    def _add(self, job: Job) -> Job:
        if self._ends:
            raise InputError(message("server.ends", "The program is ending; no run is started any more."))
        with self._changed:
            over = [key for key, other in self._jobs.items() if other.status in OVER]
            for key in over[: max(0, len(over) - _KEPT)]:
                del self._jobs[key]
            self._jobs[job.id] = job
            self._keep_waiting()
            self._workers.wake(job.device)
            self._changed.notify_all()
        return job

    def _keep_waiting(self) -> None:
        """Keep what waits on disk for the next program."""
        with self._changed:  # or an older list could be written over a newer one
            self._waiting_file.write([run for job in self._jobs.values() if (run := waiting_run(job))])

    def all(self) -> list[Job]:
        """Every job that is remembered, oldest first."""
        with self._changed:
            return list(self._jobs.values())

    def get(self, id: str) -> Job:  # noqa: A002 (the word of the API)
        """The job of an id. `InputError` if there is none."""
        with self._changed:
            if id not in self._jobs:
                raise InputError(
                    message(
                        "server.no_job",
                        'There is no job "{job}". It may be from before the program was restarted.',
                        job=id,
                    )
                )
            return self._jobs[id]

    def current(self) -> Job | None:
        """The job being carried out, else the one whose turn it is about to be, else the last that was."""
        active = self.active()
        running = [job for job in active if job.status != "queued"]
        return next(iter([*running, *active, *reversed(self.all())]), None)

    def ahead_of(self, job: Job) -> list[Job]:
        """The jobs that come to their end before this one starts, in order."""
        active = self.active(job.device)
        return active[: active.index(job)] if job in active else []

    def reorder(self, ids: Sequence[str]) -> list[Job]:
        """Have the waiting jobs carried out in this order; those that are not named come after them. Returns them.

        `InputError` for a job that is unknown or does not wait any more.
        """
        with self._changed:
            waiting = {key: job for key, job in self._jobs.items() if job.status == "queued"}
            gone = [key for key in ids if key not in waiting]
            if gone:
                raise InputError(
                    message("server.not_waiting", "A run that was to be moved has started or was removed meanwhile.")
                )
            order = [*dict.fromkeys(ids), *(key for key in waiting if key not in ids)]
            others = {key: job for key, job in self._jobs.items() if key not in waiting}
            self._jobs = {**others, **{key: waiting[key] for key in order}}
            self._keep_waiting()
            return [waiting[key] for key in order]

    def with_model(self, work: Callable[[Host], Result], remedy: str = OR_STOP_IT) -> Result:
        """What `work` makes with the model. `InputError` with a `remedy` while a run is in progress or queued."""
        with self._preparing:  # no run is added meanwhile
            active = self.active(OWN)
            if active:
                raise InputError(
                    message(
                        "server.model_busy",
                        'The model is busy with the run "{name}". {remedy}',
                        name=active[0].config.name,
                        remedy=remedy,
                    )
                )
            return work(self._host())

    def command(self, id: str, what: str) -> Job:  # noqa: A002
        """Ask something of a job: one of `COMMANDS`. `InputError` if it is too late for it."""
        job = self.get(id)
        if what not in COMMANDS:
            raise InputError(
                message(
                    "server.no_command",
                    'There is no command "{what}" for a job. Use one of {commands:, }.',
                    what=what,
                    commands=COMMANDS,
                )
            )
        with job.lock:
            if job.status in OVER:
                raise InputError(
                    message(
                        "server.job_over",
                        "The run is {status}; it cannot {what} any more.",
                        status=job.status,
                        what=what,
                    )
                )
            if what == "resume":
                job.controls.pause.clear()
            else:
                getattr(job.controls, what).set()
            if what == "stop" and job.now.status == "queued":
                reason = message("server.stopped_in_queue", "It was stopped before it started.")
                job.now, job.request = replace(job.now, status="stopped", reason=reason), None
        self._keep_waiting()
        return job

    def obeyed(self, job: Job, what: str, seconds: float = PATIENCE) -> bool:
        """Whether a job's status shows within so many seconds what was asked of it; a run ends the step it is in first.

        A snapshot or a preview does not show in the status, and a job that waits obeys when its turn comes.
        """
        shows: dict[str, Callable[[], bool]] = {
            "stop": lambda: True,
            "pause": lambda: job.status == "paused",
            "resume": lambda: job.status != "paused",
        }
        showing, end = shows.get(what, lambda: False), time.monotonic() + seconds
        while what in shows and not showing() and time.monotonic() < end:
            if job.now.over or job.status == "queued":
                break
            time.sleep(0.02)
        return showing()

    def wait(self, job: Job, seconds: float) -> bool:
        """Whether the job is over within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: job.status in OVER, seconds)

    def end(self, seconds: float = math.inf) -> list[Job]:
        """Stop all jobs, as the program ends, and wait so many seconds until those at work are saved; these.

        New ones are refused. Those that wait stay on disk for the next program, which offers them (`left`).
        """
        self._ends, over_by, active = True, time.monotonic() + seconds, self.active()
        self.left_waiting = self._waiting_file.leave()
        at_work = [job for job in active if job.status != "queued"]
        for job in active:
            with suppress(InputError):  # it has ended in this moment
                self.command(job.id, "stop")
        while any(job.status not in OVER for job in at_work) and time.monotonic() < over_by:
            self.wait(at_work[0], min(_GLANCE, over_by - time.monotonic()))
        return at_work
