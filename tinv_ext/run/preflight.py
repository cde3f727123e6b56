"""What can be said of a run before it starts or resumes: nothing is written, and no gradient computed."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tinv_ext.core.data.buckets import Size
from tinv_ext.core.data.image_index import read_index
from tinv_ext.core.data.images import ImageScan, TrainingImage, refuse_changed, scan_images
from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.preflight.initial_vectors import InitialVectors
from tinv_ext.core.preflight.prepare import PreparedRun, prepare
from tinv_ext.core.settings import SETTINGS, TrainConfig, overridden
from tinv_ext.core.suffixes import TENSOR_SUFFIXES
from tinv_ext.core.training.state import State, load_last_state
from tinv_ext.hosts.base import Host
from tinv_ext.run.run_folder import RunFolder, latents_folder
from tinv_ext.run.run_lock import refuse_if_running
from tinv_ext.run.status import Status

Known = Mapping[Path, TrainingImage]
_NOTHING: Known = {}


def parse_settings(values: Mapping[str, Any], host: Host) -> TrainConfig:
    """Settings from values by name.

    `InputError` has the problems of the values and of all that they name: folder, template, captions, word.
    """
    config, problems = TrainConfig.read(values)
    if problems:
        try:
            prepare_run(config, host)
        except InputError as error:
            told = {name for name in values if any(f"({name})" in problem for problem in problems)}
            problems += [more for more in error.problems if not any(f"({name})" in more for name in told)]
        raise InputError(problems)
    return config


def prepare_run(config: TrainConfig, host: Host, known: Known = _NOTHING, room: int = 0) -> PreparedRun:
    """Check everything that can be checked before a run; `InputError` has all problems. Writes nothing.

    A size of 0 becomes the model's native one, a clip skip of 0 the one that is set. Images that are `known`, or that
    the index beside the cached latents knows, are not opened again; of the others, up to `room` bytes stay in memory.
    """
    config = filled_in(config, host)
    problems = _sampling_problems(config, host) + _folder_problems(host.embeddings_folder)
    files = [path.name for path in _embedding_files(host.embeddings_folder)]
    try:
        prepared = prepare(
            config, host.token_table, host.known_words(), files=files, look=_Scanner(config, known, room)
        )
    except InputError as error:
        raise InputError([*error.problems, *problems]) from error
    if problems:
        raise InputError(problems)
    return replace(prepared, notices=(*host.model_notes, *prepared.notices))


class _Scanner:
    """Scans a folder as a run's settings say."""

    def __init__(self, config: TrainConfig, known: Known, room: int) -> None:
        latents = latents_folder(config)
        self._known = {**(read_index(latents) if latents else {}), **known}
        self._stretch = config.resize_mode == "stretch"
        self._room = room

    def __call__(self, folder: Path, sizes: Sequence[Size], recursive: bool) -> ImageScan:
        return scan_images(folder, sizes, self._known, self._stretch, self._room, recursive)


def _embedding_files(folder: Path) -> list[Path]:
    try:
        there = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError:
        return []  # the host says that it cannot be read
    return [path for path in there if path.name.lower().endswith(TENSOR_SUFFIXES)]


def refuse_outdated(prepared: PreparedRun, host: Host, resumes: bool) -> None:
    """`InputError` where a run that was prepared a while ago cannot start as it was checked.

    Its images must be the same files still, and nobody may have taken its name meanwhile. (Captions and templates are
    in memory; the host sees to it that the model is the one that was checked.)
    """
    refuse_changed(prepared.scan.pictures)
    config = prepared.config
    if resumes or config.overwrite:
        return
    words = {word.name.lower() for word in host.known_words()}
    stems = {path.stem.lower() for path in _embedding_files(host.embeddings_folder)}
    if config.name.lower() in words | stems:
        raise InputError(
            message(
                "run.name_taken_meanwhile",
                'An embedding "{name}" has appeared since the run was checked. Choose another name, or set overwrite '
                "(the old file is kept as a backup).",
                name=config.name,
            )
        )


def _folder_problems(folder: Path) -> list[Message]:
    """Why the finished embedding could not be written there: better said before the training than after it."""
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        reason = "" if there.is_dir() else os.strerror(errno.ENOTDIR)
        if not reason and not os.access(there, os.W_OK | os.X_OK):
            reason = os.strerror(errno.EACCES)
    except (OSError, ValueError) as error:  # too long, a NUL …
        reason = getattr(error, "strerror", None) or str(error)
    if not reason:
        return []
    return [
        message(
            "run.no_embeddings_folder",
            'The embedding could not be written: "{folder}" cannot be a folder of embeddings ({reason}).',
            folder=folder,
            reason=reason,
        )
    ]


def _sampling_problems(config: TrainConfig, host: Host) -> list[Message]:
    if not config.preview_every:
        return []
    settings = (
        ("preview_sampler", config.preview_sampler, host.samplers),
        ("preview_scheduler", config.preview_scheduler, ["", *host.schedulers]),
    )
    return [_no_such_choice(name, value, choices) for name, value, choices in settings if value not in choices]


def _no_such_choice(name: str, value: str, choices: Sequence[str]) -> Message:
    label, names = SETTINGS[name].label, [choice for choice in choices if choice]
    if not names:
        return message(
            "run.no_choice",
            '{label} ({name}) is "{value}", but there is nothing to choose here. Leave it empty.',
            label=label,
            name=name,
            value=value,
        )
    return message(
        "run.no_such_choice",
        '{label} ({name}) is "{value}", which does not exist here. Choose one of {choices:, }.',
        label=label,
        name=name,
        value=value,
        choices=names,
    )


def filled_in(config: TrainConfig, host: Host) -> TrainConfig:
    """The settings with the host's own in the place of each 0 that means them."""
    size = host.native_size
    return config.but(
        width=config.width or size, height=config.height or size, clip_skip=config.clip_skip or host.clip_skip
    )


def prepare_resume(
    path: Path, host: Host, changes: Mapping[str, Any] | None = None, known: Known = _NOTHING, room: int = 0
) -> PreparedRun | Status:
    """What resuming a run would do, or its status where nothing is left to do. `InputError` with all problems."""
    folder = RunFolder(path)
    refuse_if_running(path)
    before = folder.config()
    config = filled_in(TrainConfig.from_dict(overridden(before.to_dict(), changes or {})), host)
    if config.name != before.name:
        raise InputError(
            message(
                "run.other_name",
                'This run trains "{before}" and cannot be resumed as "{name}". Start a new run with that name and '
                "this one's embedding as the initial one (init_embedding).",
                before=before.name,
                name=config.name,
            )
        )
    status = folder.last_status()
    finished = status.status == "finished"
    if finished and (not changes or status.steps >= config.steps):
        return status
    if folder.restarts:
        return prepare_run(config, host, known, room)
    _refuse_new_beginning(before, config)
    state, notice = _saved_state(folder, config.name)
    initial = InitialVectors(state.values(config.name), state.step)
    prepared = prepare(config, host.token_table, host.known_words(), initial, look=_Scanner(config, known, room))
    if notice:
        prepared = replace(prepared, notices=(notice, *prepared.notices))
    return status if finished and prepared.plan.steps <= state.step else prepared


def _refuse_new_beginning(before: TrainConfig, now: TrainConfig) -> None:
    """`InputError` naming each setting of how the vectors begin that is to change, now that they have begun."""
    values = [(name, getattr(before, name), getattr(now, name)) for name in _OF_THE_BEGINNING]
    problems = [
        message(
            "run.cannot_change",
            '{label} ({name}) was "{before}" when this run began and cannot become "{now}" on the way. Leave it as it '
            "is, or start a new run.",
            label=SETTINGS[name].label,
            name=name,
            before=old,
            now=new,
        )
        for name, old, new in values
        if old != new
    ]
    if problems:
        raise InputError(problems)


_OF_THE_BEGINNING = ("init_text", "num_vectors", "init_embedding")


def _saved_state(folder: RunFolder, word: str) -> tuple[State, Message | None]:
    """The state to go on from; with a sentence where it is not the last one, as that is damaged."""
    if not folder.has_state:
        raise InputError(
            message(
                "run.no_state",
                'The run in "{folder}" cannot be resumed: it saved no state (save_state_every was 0, or it ended too '
                "early). {remedy}",
                folder=folder.path,
                remedy=_START_NEW,
            )
        )
    try:
        state, _, notice = load_last_state(folder.state, torch.device("cpu"), word)
        return state, notice
    except FormatError as error:
        raise InputError(
            message(
                "run.state_unreadable",
                "The run cannot be resumed: {reason} {remedy}",
                reason=error.problems[0],
                remedy=_START_NEW,
            )
        ) from error


_START_NEW = message(
    "run.start_new",
    "Start a new run from the last snapshot in its folder embeddings, if there is one (weights).",
)
