"""Trackers: a run's curve and previews in TensorBoard or Weights & Biases, by these programs' own libraries.

A tracker listens to the run's events. It is imported only where it was chosen, and no run depends on it: one that fails
is told once and switched off. Where a run resumes, it goes on in the same place.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
from PIL import Image

from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import path_given
from tinv_ext.core.settings import SETTINGS, TrainConfig
from tinv_ext.core.settings.saving import trackers_named
from tinv_ext.core.training.trainer import Step
from tinv_ext.run.events import Evaluated, Event, Report, Wrote
from tinv_ext.run.provenance import public_settings
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.tasks import reason_of

PROJECT = "tinv"


class Tracker(Protocol):
    """One program that is told how a run goes."""

    def add_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers by name that belong to a step."""
        ...

    def add_image(self, step: int, name: str, image: Image.Image) -> None:
        """A preview made at a step."""
        ...

    def flush(self) -> None:
        """Write what was told so far: the run can resume from here."""
        ...

    def close(self) -> None:
        """Write what is left; nothing follows."""
        ...


class TensorBoard:
    """Event files in the run's folder or below `logging_dir`. Rows after step `first` are purged: they come again."""

    def __init__(self, config: TrainConfig, folder: RunFolder, first: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        place = path_given(config.logging_dir) / folder.path.name if config.logging_dir.strip() else folder.tensorboard
        self._writer = SummaryWriter(str(place), purge_step=first + 1)
        if not first:
            rows = "\n".join(f"| {name} | `{value}` |" for name, value in config.to_dict().items())
            self._writer.add_text("settings", f"| setting | value |\n| --- | --- |\n{rows}", 0)

    def add_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def add_image(self, step: int, name: str, image: Image.Image) -> None:
        self._writer.add_image(name, np.array(image.convert("RGB")), step, dataformats="HWC")

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


_QUIET: Mapping[str, Any] = {
    "console": "off",
    "silent": True,
    "disable_code": True,
    "disable_git": True,
    "x_disable_meta": True,  # it would send user, folder and command line along
    "x_disable_machine_info": True,
    "x_disable_stats": True,
}
"""wandb's own settings (0.19 and newer)."""


class Wandb:
    """A run at wandb.ai, or a folder to sync later where WANDB_MODE is offline. Paths of this machine are not sent."""

    def __init__(self, config: TrainConfig, folder: RunFolder, first: int) -> None:
        import wandb

        id_file = folder.path / "wandb-id.txt"
        if not id_file.is_file():
            id_file.write_text(uuid4().hex[:12], encoding="utf-8")
        self._run: Any = wandb.init(
            project=config.tracker_project or PROJECT,
            name=config.tracker_run or folder.path.name,
            id=id_file.read_text(encoding="utf-8"),
            resume="allow",
            dir=str(folder.path),
            config=public_settings(config),
            settings=wandb.Settings(**_QUIET),
        )
        # its own counter cannot go back, as a resumed run does
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        self._image = wandb.Image

    def add_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log({"step": step, **numbers})

    def add_image(self, step: int, name: str, image: Image.Image) -> None:
        self._run.log({"step": step, name: self._image(image)})

    def flush(self) -> None:
        """Nothing to do: a process of its own keeps what it is told, whatever becomes of this one."""

    def close(self) -> None:
        self._run.finish()


@dataclass(frozen=True)
class TrackerRow:
    """How a tracker is made, and the modules that it needs."""

    make: Callable[[TrainConfig, RunFolder, int], Tracker]
    package: str
    ready: Callable[[], Message | None] = lambda: None


def _no_key() -> Message | None:
    """wandb.ai asks for a key at the first run of a machine; a training must not wait for somebody to type one."""
    import wandb

    if os.environ.get("WANDB_MODE", "online").lower() != "online" or wandb.api.api_key:
        return None
    return message(
        "run.tracker_no_key",
        'wandb knows no key for this machine. Run "wandb login" once, or set WANDB_MODE=offline to sync later.',
    )


TRACKERS: Mapping[str, TrackerRow] = {
    "tensorboard": TrackerRow(TensorBoard, "tensorboard"),
    "wandb": TrackerRow(Wandb, "wandb", _no_key),
}
"""By the names that kohya and diffusers have for them."""


def tracker_problems(config: TrainConfig) -> list[Message]:
    """Why a tracker that was chosen cannot be used here."""
    problems = []
    for name in trackers_named(config.log_with):
        row = TRACKERS[name]
        try:
            importlib.import_module(row.package)
            problem = row.ready()
        except Exception as error:  # noqa: BLE001 (a package of another's, that may be broken in any way)
            problem = _unusable(name, row.package, error)
        problems += [problem] if problem else []
    return problems


def _unusable(name: str, package: str, error: Exception) -> Message:
    if isinstance(error, ModuleNotFoundError) and error.name == package:
        return message(
            "run.tracker_package",
            '{label} (log_with) names {name}, whose package is not installed. Install it ("{python}" -m pip install '
            "{package}), or leave it out; the curve is in loss.csv in any case.",
            label=SETTINGS["log_with"].label,
            name=name,
            package=package,
            python=sys.executable,
        )
    return message(
        "run.tracker_broken",
        "{label} (log_with) names {name}, which does not work here ({reason}). Leave it out, or repair it.",
        label=SETTINGS["log_with"].label,
        name=name,
        reason=error,
    )


@contextmanager
def tracked(config: TrainConfig, folder: RunFolder, first: int, notify: Callable[[str], None]) -> Iterator[Report]:
    """A report to the trackers of a run that starts after step `first`. Their failures are told by `notify`."""
    trackers: dict[str, Tracker] = {}

    def attempt(name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 (whatever it is: the run matters more)
            trackers.pop(name, None)
            notify(_switched_off(name, error))

    def begin(name: str) -> None:
        trackers[name] = TRACKERS[name].make(config, folder, first)

    def report(event: Event) -> None:
        for name, tracker in list(trackers.items()):
            attempt(name, partial(_tell, tracker, event))

    for name in trackers_named(config.log_with):
        attempt(name, partial(begin, name))
    try:
        yield report
    finally:
        for name, tracker in list(trackers.items()):
            attempt(name, tracker.close)


def _tell(tracker: Tracker, event: Event) -> None:
    """What of an event a tracker shows."""
    if isinstance(event, Step):
        names = ("loss", "gradient_norm", "vector_norm", "distance")
        tracker.add_numbers(
            event.number, {"learning_rate": event.rate, **{name: getattr(event, name) for name in names}}
        )
    elif isinstance(event, Evaluated):
        tracker.add_numbers(event.step, {"evaluation_loss": event.loss})
    elif isinstance(event, Wrote) and event.kind == "preview":
        with Image.open(event.path) as image:
            tracker.add_image(event.step, _image_name(event.path, event.step), image)
    elif isinstance(event, Wrote) and event.kind == "state":
        tracker.flush()


def _image_name(path: Path, step: int) -> str:
    """cat-100.png and cat-100-2.png, of step 100, are preview/1 and preview/2."""
    _, _, index = path.stem.rpartition(f"-{step}")
    return f"preview/{index.lstrip('-') or 1}"


def _switched_off(name: str, error: Exception) -> Message:
    return message(
        "run.tracker_off",
        "{name} does not take what the run tells it, and is told no more. The run goes on. {reason}",
        name=name,
        reason=reason_of(error),
    )
