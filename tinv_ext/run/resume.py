"""Resuming a run: what is checked before it goes on, what has changed since, and what that means for its state.

Two more things are checked as it starts: that its images are as they were prepared (`run/preflight.py:
refuse_outdated`), and that no other program has the run (`run/run_lock.py: locked`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tinv_ext.core.data.order import Order
from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.initial_vectors import InitialVectors
from tinv_ext.core.preflight.notices import listed
from tinv_ext.core.preflight.prepare import PreparedRun, prepare
from tinv_ext.core.settings import SETTINGS, TrainConfig, current_names, facts_by_current_names, overridden
from tinv_ext.core.training.state import State, load_last_state
from tinv_ext.core.training.state_contents import has_state
from tinv_ext.hosts.base import Host
from tinv_ext.run.evaluations import terms_of
from tinv_ext.run.preflight import NOTHING_KNOWN, KnownImages, filled_in, host_problems, image_scanner, prepare_run
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.run_lock import refuse_if_running
from tinv_ext.run.status import Status


def prepare_resume(
    path: Path, host: Host, changes: Mapping[str, Any] | None = None, known: KnownImages = NOTHING_KNOWN, room: int = 0
) -> PreparedRun | Status:
    """What resuming a run would do, or its status where nothing is left to do. `InputError` with all problems."""
    folder = RunFolder(path)
    refuse_if_running(path)
    in_file = folder.config()
    before = folder.config_of_state() or in_file  # its config.json may have been edited
    config = filled_in(TrainConfig.from_dict(overridden(in_file.to_dict(), _by_steps(changes or {}))), host)
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
    changed = bool(changes) or in_file.steps != before.steps
    if finished and (not changed or (status.steps >= config.steps and not config.max_train_epochs)):
        if not folder.restarts:
            _refuse_new_beginning(before, config)
        return status
    if folder.restarts:
        return prepare_run(config, host, known, room)
    _refuse_new_beginning(before, config)
    if problems := host_problems(config, host):
        raise InputError(problems)
    state, notice = _saved_state(folder, config)
    _refuse_other_encoders(state, host)
    initial = {word: InitialVectors(state.values(word), state.step) for word in state.vectors}
    prepared = prepare(config, host.token_table, host.known_words(), initial, look=image_scanner(config, known, room))
    if notices := [*filter(None, (notice, _stays(folder, changes or {})))]:
        prepared = replace(prepared, notices=(*notices, *prepared.notices))
    over = prepared.plan.steps <= state.step or state.progress.ended == (terms_of(prepared.plan) or None)
    return status if finished and over else prepared


def _stays(folder: RunFolder, changes: Mapping[str, Any]) -> Message | None:
    """That another log directory does not move the run, if one is given."""
    output = str(current_names(changes).get("output") or "")
    if not output or path_given(output).resolve() == Path(folder.log_directory).resolve():
        return None
    return message(
        "run.stays",
        'The run goes on in its own folder, "{folder}". Only encoded images are kept in "{output}" (output).',
        folder=folder.path,
        output=output,
    )


def _by_steps(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Changes of which a new number of steps counts, also in a run that was to end by its epochs."""
    current = current_names(changes)
    by_steps = "steps" in current and "max_train_epochs" not in current
    return {**changes, "max_train_epochs": 0} if by_steps else changes


def _refuse_new_beginning(before: TrainConfig, now: TrainConfig) -> None:
    """`InputError` naming each setting that is to change although the run has begun with it."""
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
    words = [[word.beginning for word in config.word_settings] for config in (before, now)]
    if not problems and words[0] != words[1]:
        problems.append(
            message(
                "run.words_cannot_change",
                "The words of this run ({before:, }), their init_text, num_vectors and init_embedding cannot change on "
                "the way. Leave them as they are, or start a new run.",
                before=[word.name for word in before.word_settings],
            )
        )
    if problems:
        raise InputError(problems)


_OF_THE_BEGINNING = (
    "init_text",
    "num_vectors",
    "init_embedding",
    "use_negative",
    "nvpt_neg",
    "preset",  # it chose settings; those that can change are changed by their own names
    "purpose",
    "optimizer",
    "optimizer_args",
)


def _refuse_other_encoders(state: State, host: Host) -> None:
    """`InputError` where the model has other text encoders than the one that the run began with."""
    widths = {encoder: vectors.shape[1] for word in state.vectors.values() for encoder, vectors in word.items()}
    if widths != dict(host.token_table.widths):
        raise InputError(
            message(
                "run.other_encoders",
                "The run cannot go on with this model: its vectors are for text encoders {before:, }, and those of the "
                "model are {now:, }. Load a model of the family that it began with, or start a new run.",
                before=[f"{encoder} ({width})" for encoder, width in sorted(widths.items())],
                now=[f"{encoder} ({width})" for encoder, width in sorted(host.token_table.widths.items())],
            )
        )


def _saved_state(folder: RunFolder, config: TrainConfig) -> tuple[State, Message | None]:
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
        state, _, notice = load_last_state(
            folder.state, torch.device("cpu"), config.name, config.optimizer, config.optimizer_options
        )
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
    "Start a new run from the last snapshot in its folder embeddings, if there is one (init_embedding).",
)


# --- the saved state, and what has changed since it was saved -----------------------------------------------------


def load_or_new_state(
    path: Path, prepared: PreparedRun, facts: Mapping[str, Any], device: torch.device, tell: Callable[[str], None]
) -> State:
    """The state of a run saved at `path`, telling what has changed since; a new one where there is none."""
    if not has_state(path):
        return prepared.new_state(device)
    config = prepared.config
    state, before, notice = load_last_state(path, device, config.name, config.optimizer, config.optimizer_options)
    if notice and state.step != prepared.start:  # else it was told when the run was prepared
        tell(notice)
    changes = differences(before, facts)
    if changes:
        tell(
            message(
                "run.differs",
                "From step {step} on, this run differs from the original: {changes:; }.",
                step=state.step,
                changes=changes,
            )
        )
    if order_facts(before) != order_facts(facts):
        state.order = Order()  # its numbers mean other images now
    return state


def order_facts(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    """Of `state_facts`, what decides which image a number in the data order means."""
    settings = facts_by_current_names(facts).get("settings", {})
    repeats = [own.get("repeats", settings.get("repeats")) for own in facts.get("subsets", {}).values()]
    pictures = tuple(facts.get("pictures", {}).items())
    return pictures, settings.get("evaluation_images"), settings.get("seed"), repeats


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Message]:
    """Where two `state_facts` differ, as clauses; none for facts that the older one does not have."""
    before = facts_by_current_names(before)
    compared = [(key, before, now) for key in ("torch", "threads", "device")]
    for part in ("settings", "model"):
        compared += [(key, before.get(part, {}), now[part]) for key in now[part]]
    clauses = [
        message("run.was_and_is", "{key} was {before} and is {now}", key=key, before=old[key], now=new[key])
        for key, old, new in compared
        if key in old and old[key] != new[key]
    ]
    clauses += _subset_differences(before, now)
    old, new = before.get("pictures", now["pictures"]), now["pictures"]
    added = [name for name in new if name not in old]
    removed = [name for name in old if name not in new]
    changed = [name for name in new if name in old and old[name] != new[name]]
    if added:
        clauses.append(message("run.images_added", "images added: {files}", files=listed(added)))
    if removed:
        clauses.append(message("run.images_removed", "images removed: {files}", files=listed(removed)))
    if changed:
        clauses.append(message("run.images_changed", "images or captions changed: {files}", files=listed(changed)))
    if not (added or removed) and list(old) != list(new):
        clauses.append(message("run.images_reordered", "the images are in another order"))
    return clauses


def _subset_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Message]:
    """What is set otherwise for a subset that both have; a value that is not its own is that of the whole run."""
    clauses = []
    for name, own in now["subsets"].items():
        if name not in before.get("subsets", {}):
            continue  # its images are new, which is told
        old = {**before.get("settings", {}), "loss_weight": 1.0, **before["subsets"][name]}
        new = {**now["settings"], "loss_weight": 1.0, **own}
        for key in {**own, **before["subsets"][name]}:
            if key in old and key in new and old[key] != new[key]:
                clauses.append(
                    message(
                        "run.subset_was_and_is",
                        "{key} of {subset} was {before} and is {now}",
                        key=key,
                        subset=name,
                        before=old[key],
                        now=new[key],
                    )
                )
    return clauses
