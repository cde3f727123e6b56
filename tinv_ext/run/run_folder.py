"""The folder of a run: its settings, curve, snapshots and previews. Named <log>/<date>/<name>-<time>."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin

from tinv_ext.core.atomic import atomic_write, make_folder
from tinv_ext.core.errors import FormatError, HostError, InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import path_given, path_problems
from tinv_ext.core.settings import TrainConfig, config_file
from tinv_ext.core.small_files import parse_json, read_small
from tinv_ext.core.suffixes import RUN_SUFFIXES, may_be_embedding
from tinv_ext.core.training.state_contents import facts_of, has_state, step_of
from tinv_ext.run.beginnings import newest_first
from tinv_ext.run.curve import read_curve
from tinv_ext.run.status import Status, content_of, status_of

log = logging.getLogger(__name__)
_NUMBER = re.compile(r" \(\d+\)$")  # of a backup's name


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run. Files named N hold step N."""

    path: Path

    @property
    def id(self) -> str:
        """Names the run among those of its log directory: <date>/<name>-<time>."""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def log_directory(self) -> str:
        """Where it is called so."""
        return str(self.path.parent.parent)

    @property
    def state(self) -> Path:
        """A run can resume from here."""
        return self.path / "state.safetensors"

    @property
    def curve(self) -> Path:
        """One row for each step."""
        return self.path / "loss.csv"

    @property
    def images(self) -> Path:
        """Which way each image pulls the word."""
        return self.path / "images.csv"

    def word_curve(self, name: str) -> Path:
        """The same for one of several words."""
        return self._path_in("words", f"{name}.csv")

    @property
    def log(self) -> Path:
        """What happened, a line each with its time."""
        return self.path / "log.txt"

    @property
    def tensorboard(self) -> Path:
        """Event files of a run that is shown in TensorBoard."""
        return self.path / "tensorboard"

    def snapshot(self, name: str, step: int, suffix: str = ".pt", epoch: int = 0) -> Path:
        """An embedding saved on the way, or because an epoch was over with this step."""
        by_epoch = f"-e{epoch}" if epoch else ""
        return self._path_in("embeddings", f"{name}{by_epoch}-{step}{suffix}")

    def snapshots(self, name: str) -> dict[int, list[Path]]:
        """The embeddings that were saved on the way, by step, in whatever format."""
        pattern = re.compile(rf"{re.escape(name)}(?:-e[0-9]+)?-([0-9]{{1,12}})")
        found: dict[int, list[Path]] = {}
        for path in sorted((self.path / "embeddings").glob("*.*")):
            match = pattern.fullmatch(path.stem)
            if match and path.suffix in RUN_SUFFIXES:
                found.setdefault(int(match[1]), []).append(path)
        return found

    def preview(self, name: str, step: int, index: int) -> Path:
        """An image generated on the way."""
        return self._path_in("images", f"{name}-{step}{_numbered(index)}.png")

    def previews(self, *names: str) -> list[tuple[int, Path]]:
        """Every image generated on the way of words of these names, by step."""
        files = [(name, path) for name in names for path in (self.path / "images").glob(f"{glob.escape(name)}-*.png")]
        parts = [(path.stem[len(name) + 1 :].partition("-"), path) for name, path in files]
        made = [(int(step), int(index or 0), path) for (step, _, index), path in parts if (step + index).isdecimal()]
        return [(step, path) for step, _, path in sorted(made)]

    def last_preview(self, name: str) -> Path | None:
        """The first image of the last preview, if there is one."""
        made = self.previews(name)
        return self.preview(name, made[-1][0], 0) if made else None

    def image_embedding(self, name: str, step: int, index: int) -> Path:
        """An image that carries the embedding."""
        return self._path_in("image_embeddings", f"{name}-{step}{_numbered(index)}.png")

    @property
    def diffusers(self) -> Path:
        """A folder as diffusers' scripts leave it, of a run that is asked for one."""
        return self.path / "diffusers"

    def backup(self, file: Path) -> Path:
        """Where an embedding that the run replaces is kept; a new name each time."""
        backup = self._path_in("replaced", file.name)
        for number in range(2, 10_000):
            if not backup.exists():
                break
            backup = backup.with_name(f"{file.stem} ({number}){file.suffix}")
        return backup

    def replaced(self) -> list[tuple[Path, str]]:
        """Embeddings that the run has replaced, the oldest of a name first, each with the name that it had."""
        backups = [
            (path, f"{_NUMBER.sub('', path.stem)}{path.suffix}")
            for path in (self.path / "replaced").glob("[!.]*")
            if may_be_embedding(path)
        ]
        return sorted(backups, key=lambda backup: (backup[1], len(backup[0].name), backup[0].name))

    def _path_in(self, folder: str, name: str) -> Path:
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

    @property
    def has_state(self) -> bool:
        """Whether a state was saved, be it the last one or the one before."""
        return has_state(self.state)

    def recover_config(self) -> Message | None:
        """Write config.json again where it is damaged and the state knows what was in it; a sentence if so.

        The damaged one is kept: somebody may have edited it, and slipped.
        """
        place, kept = self.path / "config.json", self.path / "config-damaged.json"
        try:
            self._read_config()
        except _DAMAGED as error:
            content, reason = self._config_file(), str(error) or type(error).__name__
            if not place.is_file():
                write_json(place, content)
                return message(
                    "run.config_recovered",
                    "The run's config.json was damaged ({reason}). It was recovered from the run's state.",
                    reason=reason,
                )
            os.replace(place, kept)
            write_json(place, content)
            return message(
                "run.config_replaced",
                "The run's config.json was damaged ({reason}). It was recovered from the run's state; what it held is "
                "kept as {kept}.",
                reason=reason,
                kept=kept.name,
            )
        return None

    def _read_config(self) -> dict[str, Any]:
        content = config_file.from_file(_read_json(self.path / "config.json"))
        if not content["settings"]:
            raise ValueError("it has no settings")
        return content

    def _config_file(self) -> dict[str, Any]:
        """What config.json holds; where it is damaged, what the state has kept of it."""
        try:
            return self._read_config()
        except _DAMAGED as error:
            with suppress(*_DAMAGED):  # the state neither: then it is no run, as is told below
                return config_file.from_file(facts_of(self.state)["config"])
            raise InputError(
                message(
                    "run.not_a_run",
                    '"{path}" is not the folder of a run: its config.json cannot be read ({reason}). Give a folder '
                    "<date>/<name>-<time> of the log directory.",
                    path=self.path,
                    reason=getattr(error, "strerror", None) or str(error) or type(error).__name__,
                )
            ) from error

    def config_of_state(self) -> TrainConfig | None:
        """The settings that were saved with the state; None where it cannot say."""
        with suppress(*_DAMAGED, InputError):
            return TrainConfig.from_dict(config_file.from_file(facts_of(self.state)["config"])["settings"])
        return None

    def facts(self) -> dict[str, Any]:
        """What was known when the run began: model, dataset digest, versions."""
        facts: dict[str, Any] = self._config_file()["facts"]
        return facts

    def status(self) -> Status:
        """How the run stands, as it was last written."""
        try:
            return status_of(_read_json(self.path / "status.json"))
        except (OSError, ValueError, TypeError) as error:
            raise FormatError(
                message(
                    "run.no_status", '"{path}" has no readable status ({reason}).', path=self.path, reason=str(error)
                )
            ) from error

    def last_status(self) -> Status:
        """How the run stands; where status.json cannot be read or lies against the state, that it was under way.

        A run that is said to be finished has a state of its last step, unless it saves none.
        """
        try:
            status = self.status()
        except FormatError as error:
            log.warning("%s", error)
            status = Status("training", 0)
        saved = step_of(self.state) if self.has_state else None
        if saved is None:
            return status
        if status.status == "finished" and not saved == status.steps >= status.total:
            log.warning("%s says that it is finished at step %s; its state is of step %s", self, status.steps, saved)
            return Status("training", saved, total=status.total)
        return replace(status, steps=max(status.steps, saved))

    @property
    def restarts(self) -> bool:
        """Whether resuming means to start over, as the run saved no state and nobody stopped it on its way."""
        return not self.has_state and (not self.last_status().over or not read_curve(self.curve))

    @property
    def can_resume(self) -> bool:
        """Whether the run can be resumed."""
        return self.has_state or self.restarts

    def write_status(self, status: Status) -> None:
        """Keep how the run stands."""
        write_json(self.path / "status.json", content_of(status))

    def add_to_log(self, text: str) -> None:
        """Add a line to the log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n")


_DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
_LARGEST = 1 << 24  # bytes of a JSON file that is read


def _read_json(path: Path) -> Any:
    """What a JSON file holds. OSError or ValueError where it cannot be read, also because it is far too large."""
    return parse_json(read_small(path, _LARGEST))


def find_runs(*outputs: Path) -> list[RunFolder]:
    """The runs of log directories, each once, newest first. `InputError` for what cannot be a path."""
    problems = [problem for output in outputs for problem in path_problems(str(output))]
    if problems:
        raise InputError(problems)
    folders = {output.resolve(): output for output in outputs if output.is_dir()}.values()
    configs = (config for folder in folders for config in folder.glob(_CONFIGS))
    return [RunFolder(path) for path in newest_first(config.parent for config in configs)]


_CONFIGS = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]/*/config.json"


def latents_folder(config: TrainConfig) -> Path | None:
    """Where the latents of all runs of a log directory are cached; None if they are not to be."""
    return path_given(config.output) / "latents" if config.cache_latents else None


def class_images_folder(config: TrainConfig, model: Mapping[str, str | None]) -> Path:
    """Where images of the class are kept that a model has generated: another folder if they would be others."""
    made = [model.get("model_hash") or model.get("model_name"), *(getattr(config, name) for name in _OF_CLASS_IMAGES)]
    made += [config.clip_skip] if config.clip_skip > 1 else []
    key = hashlib.sha256(json.dumps(made).encode("utf-8")).hexdigest()[:12]
    return path_given(config.output) / "class_images" / key


_OF_CLASS_IMAGES = (
    *("class_prompt", "class_tokens", "init_text", "init_embedding", "template", "width", "height"),
    *("preview_negative_prompt", "preview_steps", "preview_cfg_scale", "preview_sampler", "preview_scheduler"),
)


def _numbered(index: int) -> str:
    return f"-{index + 1}" if index else ""


def create_run(config: TrainConfig, facts: Mapping[str, Any]) -> RunFolder:
    """Make the folder of a new run with its config.json. `InputError` if it cannot be written."""
    now = datetime.now()
    parent = path_given(config.output) / f"{now:%Y-%m-%d}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        path = _new_folder(parent, f"{config.name}-{now:%H-%M-%S}")
    except OSError as error:
        raise InputError(
            message(
                "run.log_directory_not_writable",
                'The log directory "{folder}" cannot be written to ({reason}).',
                folder=parent,
                reason=error.strerror or str(error),
            )
        ) from error
    folder = RunFolder(path)
    try:
        folder.write_config(config, facts)
    except HostError as error:
        with suppress(OSError):  # what is told below has the same cause
            path.rmdir()  # empty, so that no folder is left which is no run
        raise InputError(
            message("run.not_recorded", "The run cannot be recorded: {reason}", reason=error.problems[0])
        ) from error
    return folder


def _new_folder(parent: Path, name: str) -> Path:
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
        file.write(json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def write_image(image: Image.Image, path: Path, text: Mapping[str, str]) -> None:
    """Write a PNG with text chunks (Latin-1 as tEXt, anything else as iTXt), whole or not at all."""
    with atomic_write(path) as file:
        save_png(image, file, text)


def save_png(image: Image.Image, file: BinaryIO, text: Mapping[str, str]) -> None:
    """Write a PNG with text chunks to an open file."""
    info = PngImagePlugin.PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    image.save(file, "PNG", pnginfo=info)
