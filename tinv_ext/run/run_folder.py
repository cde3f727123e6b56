"""The folder of a run: its settings, its curve, its copies and pictures. Named <log>/<date>/<name>-<time>."""

from __future__ import annotations

import csv
import errno
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from tinv_ext.core.atomic import atomic_write, make_folder
from tinv_ext.core.errors import FormatError, HostError, InputError
from tinv_ext.core.paths import path_given, path_problems
from tinv_ext.core.settings import TrainConfig, config_file
from tinv_ext.core.suffixes import may_be_embedding

log = logging.getLogger(__name__)
COLUMNS = ("step", "epoch", "loss", "learn_rate", "gradient_norm", "vector_norm", "distance", "evaluation")
STATUSES = ("queued", "preparing", "training", "paused", "stopping", "finished", "stopped", "failed")
_COPY = re.compile(r" \(\d+\)$")  # of a backup's name
OVER = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class Status:
    """The one truth about a run: what page, API, command line, status.json and log show.

    `status` is one of `STATUSES`; `steps` are optimizer steps really done, of `total`; `file` is the embedding really
    written; `reason` says why it is paused or stopped or has failed.
    """

    status: str
    steps: int
    file: str | None = None
    reason: str = ""
    total: int = 0

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in OVER


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run. Files named N hold step N."""

    path: Path

    @property
    def id(self) -> str:
        """Names the run among those of its log directory: <date>/<name>-<time>."""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def state(self) -> Path:
        """From here the run can go on."""
        return self.path / "state.safetensors"

    @property
    def curve(self) -> Path:
        """One row for each step: `COLUMNS`."""
        return self.path / "loss.csv"

    @property
    def log(self) -> Path:
        """What happened, a line each with its time."""
        return self.path / "log.txt"

    def snapshot(self, name: str, step: int, suffix: str = ".pt") -> Path:
        """An embedding saved on the way."""
        return self._place("embeddings", f"{name}-{step}{suffix}")

    def preview(self, name: str, step: int, index: int) -> Path:
        """A picture drawn on the way."""
        return self._place("images", f"{name}-{step}{_numbered(index)}.png")

    def last_preview(self, name: str) -> Path | None:
        """The first picture of the last preview, if one was drawn."""
        steps = [path.stem[len(name) + 1 :] for path in (self.path / "images").glob("*.png")]
        drawn = [int(step) for step in steps if step.isdecimal()]
        return self.preview(name, max(drawn), 0) if drawn else None

    def image_embedding(self, name: str, step: int, index: int) -> Path:
        """A picture that carries the embedding."""
        return self._place("image_embeddings", f"{name}-{step}{_numbered(index)}.png")

    def backup(self, file: Path) -> Path:
        """Where an embedding that the run replaces is kept; a new name each time."""
        place = self._place("replaced", file.name)
        for number in range(2, 10_000):
            if not place.exists():
                break
            place = place.with_name(f"{file.stem} ({number}){file.suffix}")
        return place

    def replaced(self) -> list[tuple[Path, str]]:
        """Embeddings that the run has replaced, the oldest of a name first, each with the name that it had."""
        found = [
            (path, f"{_COPY.sub('', path.stem)}{path.suffix}")
            for path in (self.path / "replaced").glob("[!.]*")
            if may_be_embedding(path)
        ]
        return sorted(found, key=lambda one: (one[1], len(one[0].name), one[0].name))

    def _place(self, folder: str, name: str) -> Path:
        make_folder(self.path / folder)
        return self.path / folder / name

    @property
    def is_there(self) -> bool:
        """Whether the folder has its config.json: nobody has deleted it."""
        return (self.path / "config.json").is_file()

    def write_config(self, config: TrainConfig, facts: Mapping[str, Any]) -> None:
        """Keep the settings and what was known when the run began; the folder is made where it is gone."""
        make_folder(self.path)
        write_json(self.path / "config.json", config_file.to_file(config, facts))

    def config(self) -> TrainConfig:
        """The settings of the run."""
        return TrainConfig.from_dict(self._config_file()["settings"])

    def _config_file(self) -> dict[str, Any]:
        try:
            return config_file.from_file(json.loads((self.path / "config.json").read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f'"{self.path}" is not the folder of a run: config.json cannot be read ({error}).'
            ) from error

    def facts(self) -> dict[str, Any]:
        """What was known when the run began: model, dataset digest, versions."""
        facts: dict[str, Any] = self._config_file()["facts"]
        return facts

    def status(self) -> Status:
        """How the run stands, as it was last written."""
        try:
            return Status(**json.loads((self.path / "status.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise FormatError(f'"{self.path}" has no status that can be read: {error}.') from error

    def last_status(self) -> Status:
        """How the run stands; where status.json cannot be read, as after a power cut, that it was under way."""
        try:
            return self.status()
        except FormatError as error:
            log.warning("%s", error)
            return Status("training", 0)

    @property
    def begins_again(self) -> bool:
        """Whether the run goes on from its first step, as it kept no state and nobody stopped it on its way."""
        return not self.state.is_file() and (not self.last_status().over or not read_curve(self))

    @property
    def can_resume(self) -> bool:
        """Whether the run can be resumed."""
        return self.state.is_file() or self.begins_again

    def write_status(self, status: Status) -> None:
        """Keep how the run stands."""
        write_json(self.path / "status.json", asdict(status))

    def note(self, text: str) -> None:
        """Add a line to the log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n")


def find(output: Path) -> list[RunFolder]:
    """The runs of a log directory, newest first. `InputError` for what can be no path."""
    problems = path_problems(str(output))
    if problems:
        raise InputError(problems)
    configs = output.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]/*/config.json") if output.is_dir() else []
    return [RunFolder(path.parent) for path in sorted(configs, key=lambda path: path.stat().st_mtime, reverse=True)]


def _numbered(index: int) -> str:
    return f"-{index + 1}" if index else ""


def create(config: TrainConfig, facts: Mapping[str, Any]) -> RunFolder:
    """Make the folder of a new run with its config.json. `InputError` if it cannot be written."""
    now = datetime.now()
    parent = path_given(config.output) / f"{now:%Y-%m-%d}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        path = _fresh(parent, f"{config.name}-{now:%H-%M-%S}")
    except OSError as error:
        raise InputError(f'The log directory "{parent}" cannot be written: {error.strerror or error}.') from error
    folder = RunFolder(path)
    try:
        folder.write_config(config, facts)
    except HostError as error:
        with suppress(OSError):
            path.rmdir()  # empty, so that no folder is left which is no run
        raise InputError(f"The run cannot be kept: {error}") from error
    return folder


def _fresh(parent: Path, name: str) -> Path:
    """A folder that did not exist: two runs in the same second get different ones."""
    for number in range(1, 1000):
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise OSError(f"{parent} has too many runs of this name")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, whole or not at all."""
    with atomic_write(path) as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8"))


def write_picture(image: Image.Image, path: Path, text: Mapping[str, str]) -> None:
    """Write a PNG with text chunks (Latin-1 as tEXt, anything else as iTXt), whole or not at all."""
    info = PngImagePlugin.PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    with atomic_write(path) as file:
        image.save(file, "PNG", pnginfo=info)


class Curve:
    """Appends rows to loss.csv, each at once; what cannot be written comes with a later row.

    The file is opened, and made again, when there is a row to write. Rows that it has of steps after `step`, from
    before a crash, are then cut off.
    """

    def __init__(self, folder: RunFolder, step: int) -> None:
        self._folder = folder
        self._step = step
        self._file: FileIO | None = None
        self._waiting = b""

    def add(self, *values: object) -> None:
        """One row, in the order of `COLUMNS`; floats with nine digits. OSError or HostError if it has to wait."""
        shown = [f"{value:.9g}" if isinstance(value, float) else str(value) for value in values]
        self._waiting += (",".join(shown) + "\n").encode()
        taken = self.opened().write(self._waiting)  # perhaps not all
        self._waiting = self._waiting[taken:]
        if self._waiting:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(self) -> FileIO:
        """The file at its end; another one where somebody has deleted it."""
        if self._file is None or os.fstat(self._file.fileno()).st_nlink == 0:
            self.close()
            self._cut()
            self._file = FileIO(self._folder.curve, "a")
        return self._file

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _cut(self) -> None:
        rows = [row for row in read_curve(self._folder) if int(row["step"]) <= self._step]
        with atomic_write(self._folder.curve) as target:
            lines = [",".join(COLUMNS), *(",".join(row.get(column) or "" for column in COLUMNS) for row in rows)]
            target.write(("\n".join(lines) + "\n").encode())


@contextmanager
def open_curve(folder: RunFolder, step: int) -> Iterator[Curve]:
    """The curve of a run that stands at `step`; -1 for one that begins."""
    curve = Curve(folder, step)
    try:
        with suppress(OSError, HostError):  # the first row tries again and says so
            curve.opened()
        yield curve
    finally:
        curve.close()


def read_curve(folder: RunFolder) -> list[dict[str, str]]:
    """Rows of loss.csv as text by column; what a crash has cut short or filled with zeros is left out."""
    if not folder.curve.is_file():
        return []
    text = folder.curve.read_bytes().decode("utf-8", "replace").replace("\0", "")
    rows = [row for row in csv.DictReader(text.splitlines()) if None not in row.values() and None not in row]
    return [row for row in rows if row.get("step", "").isdecimal()]
