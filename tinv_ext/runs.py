"""The folder of a run: its settings, its curve, its copies and pictures. Named <log>/<date>/<name>-<time>."""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.files import atomic_write
from tinv_ext.core.paths import path_given
from tinv_ext.core.settings import TrainConfig

COLUMNS = ("step", "epoch", "loss", "learn_rate", "gradient_norm", "vector_norm", "distance", "evaluation")
PLAIN_SUFFIXES = (".pt", ".bin", ".safetensors")
EMBEDDING_SUFFIXES = (*PLAIN_SUFFIXES, ".png", ".webp", ".jxl", ".avif")
STATUSES = ("queued", "preparing", "training", "paused", "stopping", "finished", "stopped", "failed")
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

    def _place(self, folder: str, name: str) -> Path:
        (self.path / folder).mkdir(exist_ok=True)
        return self.path / folder / name

    def config(self) -> TrainConfig:
        """The settings of the run."""
        try:
            return TrainConfig.from_dict(dict(json.loads((self.path / "config.json").read_text("utf-8"))["settings"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f'"{self.path}" is not the folder of a run: config.json cannot be read ({error}).'
            ) from error

    def facts(self) -> dict[str, Any]:
        """What was known when the run began: model, dataset digest, versions."""
        self.config()  # says so if this is no run
        found = json.loads((self.path / "config.json").read_text("utf-8")).get("facts")
        return found if isinstance(found, dict) else {}

    def status(self) -> Status:
        """How the run stands, as it was last written."""
        try:
            return Status(**json.loads((self.path / "status.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise FormatError(f'"{self.path}" has no status that can be read: {error}.') from error

    def write_status(self, status: Status) -> None:
        """Keep how the run stands."""
        write_json(self.path / "status.json", asdict(status))

    def note(self, text: str) -> None:
        """Add a line to the log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n")


def find(output: Path) -> list[RunFolder]:
    """The runs of a log directory, newest first."""
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
    write_json(path / "config.json", {"settings": config.to_dict(), "facts": dict(facts)})
    return RunFolder(path)


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
    """Appends rows to loss.csv, each at once; what a full disk does not take comes with a later row."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._waiting = b""

    def add(self, *values: object) -> None:
        """One row, in the order of `COLUMNS`; floats with nine digits. OSError if it has to wait."""
        shown = [f"{value:.9g}" if isinstance(value, float) else str(value) for value in values]
        self._waiting += (",".join(shown) + "\n").encode()
        taken = self._file.write(self._waiting)  # perhaps not all
        self._waiting = self._waiting[taken:]
        if self._waiting:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def open_curve(folder: RunFolder, step: int) -> Iterator[Curve]:
    """The curve of a run that stands at `step`: rows of later steps, from before a crash, are cut off."""
    rows = [row for row in read_curve(folder) if int(row["step"]) <= step]
    with atomic_write(folder.curve) as target:
        lines = [",".join(COLUMNS), *(",".join(row.get(column) or "" for column in COLUMNS) for row in rows)]
        target.write(("\n".join(lines) + "\n").encode())
    with FileIO(folder.curve, "a") as file:
        yield Curve(file)


def read_curve(folder: RunFolder) -> list[dict[str, str]]:
    """Rows of loss.csv as text by column; a last row that was cut short is left out."""
    if not folder.curve.is_file():
        return []
    with folder.curve.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if None not in row.values() and None not in row and row["step"].isdigit()]
