"""One job of the queue: a run as it was ordered, and all that others see of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.trainer import Step
from tinv_ext.hosts.base import Host
from tinv_ext.run.events import Encoded, Evaluated, Event, Generated, Noticed, Prepared, RunControls, Wrote
from tinv_ext.run.odd_images import named_odd
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.status import Status
from tinv_ext.scheduler.steered_run import Order
from tinv_ext.server.shown import Shown

_ENOUGH = 5  # steps that are timed, at least
MAX_ROWS = 2000  # of the curve in one view


@dataclass(frozen=True)
class RunRequest:
    """What a job is to do: a run as it was prepared, on the host that it was prepared for; where it resumes, if so.

    With an `order`, a process of its own carries it out on another device.
    """

    prepared: PreparedRun
    host: Host
    resumes: Path | None = None
    order: Order | None = None


@dataclass(frozen=True)
class Notice:
    """Something that the owner should know; `warns` where it came up in the midst of the run, at `step`."""

    text: str
    step: int = 0
    warns: bool = False


@dataclass
class Job:
    """One job as others see it. Its lock guards every field; `view()` is a consistent copy.

    `request` is None once it is carried out: images and prompts of runs that are over would fill the memory. `asked`
    are the settings that it was asked for with, or the changes to the run that it resumes. `used` is the step that was
    made the embedding after the run, `used_files` the file of each word of which that was done. `device` is "" where it
    trains on the program's own model. `image_folders` are those that it trains on, `odd` the images that it has told of
    as not going with the others.
    """

    id: str
    config: TrainConfig
    request: RunRequest | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    now: Status = field(default_factory=lambda: Status("queued", 0))
    folder: str | None = None
    device: str = ""
    generated: tuple[int, int] = (0, 0)
    encoded: tuple[int, int] = (0, 0)
    seconds_left: float | None = None
    loss: float | None = None
    prompts: tuple[str, ...] = ()
    notices: list[Notice] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    best: int | None = None
    previews: list[tuple[int, str]] = field(default_factory=list)
    snapshots: int = 0
    used: int | None = None
    used_files: dict[str, Path] = field(default_factory=dict)
    image_folders: frozenset[Path] = frozenset()
    odd: frozenset[Path] = frozenset()
    controls: RunControls = field(default_factory=RunControls)
    lock: threading.Lock = field(default_factory=threading.Lock)
    resumes: bool = False
    _before: Shown = field(default_factory=Shown)
    _step_times: list[tuple[float, int]] = field(default_factory=list)
    _images: dict[str, Path] = field(default_factory=dict)  # by the names that the run gives them, while it goes on

    def __post_init__(self) -> None:
        """While it waits, it is known already how many steps it will have."""
        self.resumes = self.request is not None and self.request.resumes is not None
        if self.request and self.now.status == "queued":
            prepared = self.request.prepared
            self.now = replace(self.now, steps=prepared.start, total=prepared.plan.steps)

    @property
    def status(self) -> str:
        """One of `STATUSES`; "stopping" as soon as a stop was requested."""
        return "stopping" if self.controls.stop.is_set() and not self.now.over else self.now.status

    @property
    def waits(self) -> bool:
        """Whether nothing of it is on disk yet that could be resumed."""
        return self.now.status == "queued" or (not self.now.over and self.folder is None)

    @property
    def left(self) -> RunFolder | None:
        """The run that it has left before the end of its plan, to be resumed; None where there is none."""
        if self.now.status not in ("stopped", "failed") or self.folder is None:
            return None
        folder = RunFolder(Path(self.folder))
        return folder if folder.has_state else None

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

    @property
    def seconds_per_step(self) -> float | None:
        """How long its last steps took, previews between them included; None where it has not taken some."""
        if len(self._step_times) < _ENOUGH:
            return None
        (started, first), (now, last) = self._step_times[0], self._step_times[-1]
        return (now - started) / (last - first)

    def view(self, since: int = 0) -> dict[str, Any]:
        """What there is to show, as JSON can hold it; no paths.

        Of the curve the first `MAX_ROWS` rows after the step `since`; `more` says that others follow them.
        """
        with self.lock:
            rows = [row for row in self.curve if row["step"] > since]
            more, rows = len(rows) > MAX_ROWS, rows[:MAX_ROWS]
            last = rows[-1]["step"] if more else self.now.total
            return {
                "id": self.id,
                "name": self.config.name,
                "words": self.config.names,
                "device": self.device,
                "status": self.status,
                "reason": self.now.reason,
                "can_resume": self.left is not None,
                "steps": self.now.steps,
                "total": self.now.total,
                "file": Path(self.now.file).name if self.now.file else None,
                "file_step": self.now.file_step,
                "generated": list(self.generated),
                "encoded": list(self.encoded),
                "seconds_left": self.seconds_left,
                "loss": self.loss,
                "prompts": list(self.prompts),
                "notices": [notice.text for notice in self.notices],
                "noted": [
                    {"text": one.text, "step": one.step, "severity": "warning" if one.warns else "note"}
                    for one in self.notices
                ],
                "curve": rows,
                "more": more,
                "evaluations": [[step, loss] for step, loss in self.evaluations if since <= step <= last],
                "evaluated": len(self.evaluations),
                "previews": [step for step, _ in self.previews],
                "snapshots": self.snapshots,
                "used": self.used,
            }

    def on_event(self, event: Event) -> None:
        """Take in what the run reports."""
        with self.lock:
            if isinstance(event, Prepared):
                self.notices += [Notice(text) for text in event.prepared.notices]
                self.folder = str(event.folder.path)
                self._images = {image.name: image.picture.path for image in event.prepared.images}
                self.image_folders = frozenset(path.parent for path in self._images.values())
                before = self._before = Shown.of(event.folder, self.config.names, event.prepared.start)
                self.curve, self.evaluations, self.previews = before.curve, before.evaluations, before.previews
                self.best = before.best
            elif isinstance(event, Status):
                if event.status != self.now.status and not event.over:
                    self._step_times.clear()
                if event.status != self.now.status:
                    self.seconds_left = None  # a run that stands still has no end in sight
                self.now = event
                self._images = {} if event.over else self._images
            elif isinstance(event, Noticed):
                self.notices.append(Notice(event.text, event.step, warns=True))
                self.odd |= {self._images[name] for name in named_odd(event.text) if name in self._images}
            elif isinstance(event, Generated):
                self.generated = (event.done, event.total)
            elif isinstance(event, Encoded):
                self.encoded = (event.done, event.total)
            elif isinstance(event, Evaluated):
                self.evaluations.append((event.step, event.loss))
                self.best = event.best
            elif isinstance(event, Wrote) and event.kind == "preview":
                self.previews.append((event.step, str(event.path)))
            elif isinstance(event, Wrote) and event.kind == "snapshot":
                self.snapshots += 1
            elif isinstance(event, Step):
                self._on_step(event)

    def _on_step(self, step: Step) -> None:
        self.now, self.prompts = replace(self.now, steps=step.number), step.prompts
        self.loss = self._before.smoothed.add(step.loss)
        row = {"step": step.number, "loss": step.loss, "smoothed": self.loss, "rate": step.rate}
        norms = {"gradient_norm": step.gradient_norm, "vector_norm": step.vector_norm, "distance": step.distance}
        self.curve.append({**row, **norms})
        self._step_times = [*self._step_times[-200:], (time.monotonic(), step.number)]
        (started, first), (now, last) = self._step_times[0], self._step_times[-1]
        self.seconds_left = (now - started) / (last - first) * (self.now.total - last) if last > first else None
