"""What can be said of a run before it starts or goes on: nothing is written, and no gradient computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.preflight.initial_vectors import InitialVectors
from tinv_ext.core.preflight.prepare import PreparedRun, prepare
from tinv_ext.core.settings import SETTINGS, TrainConfig, overridden
from tinv_ext.core.suffixes import TENSOR_SUFFIXES
from tinv_ext.core.training.state import State, load_state
from tinv_ext.hosts.base import Host
from tinv_ext.run import run_folder

_BEGIN_ANEW = "Begin a new one, with weights set to the last copy in its folder embeddings if there is one."


def configure(values: Mapping[str, Any], host: Host) -> TrainConfig:
    """Settings from values by name.

    `InputError` has the problems of the values and of all that they name: folder, template, captions, word.
    """
    config, problems = TrainConfig.read(values)
    if problems:
        try:
            check(config, host)
        except InputError as error:
            told = {name for name in values if any(f"({name})" in problem for problem in problems)}
            problems += [more for more in error.problems if not any(f"({name})" in more for name in told)]
        raise InputError(problems)
    return config


def check(config: TrainConfig, host: Host) -> PreparedRun:
    """Everything that can be said before a run; `InputError` with all problems. Writes nothing.

    A size of 0 becomes the one that the model was made for, a clip skip of 0 the one that is set.
    """
    config = filled_in(config, host)
    problems = _sampling_problems(config, host)
    folder = host.embeddings_folder
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    files = [name for name in there if name.lower().endswith(TENSOR_SUFFIXES)]
    try:
        prepared = prepare(config, host.token_table, host.known_words(), files=files)
    except InputError as error:
        raise InputError([*error.problems, *problems]) from error
    if problems:
        raise InputError(problems)
    return replace(prepared, notices=(*host.model_notes, *prepared.notices))


def _sampling_problems(config: TrainConfig, host: Host) -> list[str]:
    if not config.preview_every:
        return []
    return [
        f'There is no {SETTINGS[name].label.lower()} "{chosen}" ({name}) here. '
        f"Choose one of {', '.join(known) or 'none'}."
        for name, chosen, known in (
            ("preview_sampler", config.preview_sampler, host.samplers),
            ("preview_scheduler", config.preview_scheduler, ["", *host.schedulers]),
        )
        if chosen not in known
    ]


def filled_in(config: TrainConfig, host: Host) -> TrainConfig:
    """The settings with the host's own in the place of each 0 that means them."""
    size = host.native_size
    return config.but(
        width=config.width or size, height=config.height or size, clip_skip=config.clip_skip or host.clip_skip
    )


def prepare_resume(path: Path, host: Host, changes: Mapping[str, Any] | None = None) -> PreparedRun | run_folder.Status:
    """What going on with a run would do, or its status where nothing is left to do. `InputError` with all problems."""
    folder = run_folder.RunFolder(path)
    before = folder.config()
    config = filled_in(TrainConfig.from_dict(overridden(before.to_dict(), changes or {})), host)
    if config.name != before.name:
        raise InputError(
            f'The run teaches "{before.name}" and cannot go on as "{config.name}". Begin a new run of that name, with '
            "weights set to what this one made."
        )
    status = folder.last_status()
    finished = status.status == "finished"
    if finished and (not changes or status.steps >= config.steps):
        return status
    if folder.begins_again:
        return check(config, host)
    state = _kept_state(folder, config.name)
    prepared = prepare(
        config, host.token_table, host.known_words(), InitialVectors(state.values(config.name), state.step)
    )
    return status if finished and prepared.plan.steps <= state.step else prepared


def _kept_state(folder: run_folder.RunFolder, word: str) -> State:
    if not folder.state.is_file():
        raise InputError(
            f'The run in "{folder.path}" cannot go on: it kept no state (save_state_every was 0, or it ended too '
            f"early). {_BEGIN_ANEW}"
        )
    try:
        return load_state(folder.state, torch.device("cpu"), word)[0]
    except FormatError as error:
        raise InputError(f"The run cannot go on: {error} {_BEGIN_ANEW}") from error
