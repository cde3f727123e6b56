"""What can be said of a run before it starts: nothing is written, and no gradient computed."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinv_ext.core.data.image_index import read_index
from tinv_ext.core.data.images import ImageScan, TrainingImage, refuse_changed, scan_images
from tinv_ext.core.errors import InputError
from tinv_ext.core.generation import preview_prompts
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.plan import prediction_problems
from tinv_ext.core.preflight.prepare import PreparedRun, prepare
from tinv_ext.core.preflight.problems import Scanner
from tinv_ext.core.settings import SETTINGS, TrainConfig
from tinv_ext.core.settings.words import as_text, tables_in
from tinv_ext.core.suffixes import TENSOR_SUFFIXES
from tinv_ext.core.training.fallbacks import retry_after_freeing
from tinv_ext.hosts.base import Host
from tinv_ext.hub.fetch import fetch_images, is_at_the_hub
from tinv_ext.run.publish import refuse_unpublishable
from tinv_ext.run.run_folder import class_images_folder, latents_folder
from tinv_ext.run.trackers import tracker_problems

KnownImages = Mapping[Path, TrainingImage]
NOTHING_KNOWN: KnownImages = {}


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


def prepare_run(config: TrainConfig, host: Host, known: KnownImages = NOTHING_KNOWN, room: int = 0) -> PreparedRun:
    """Check everything that can be checked before a run; `InputError` has all problems. Writes nothing.

    A size of 0 becomes the model's native one, a clip skip of 0 the one that is set. Images that are `known`, or that
    the index beside the cached latents knows, are not opened again; of the others, up to `room` bytes stay in memory.
    """
    config = filled_in(config, host)
    problems = [
        *host_problems(config, host),
        *_folder_problems(host.embeddings_folder),
        *_place_problems(host.embeddings_folder, config.names),
    ]
    files = [path.name for path in embedding_files(host.embeddings_folder)]
    look = image_scanner(config, known, room)
    try:  # nothing is changed by it, so where memory ran out it can simply be done again
        prepared = retry_after_freeing(
            None, lambda: prepare(config, host.token_table, host.known_words(), files=files, look=look)
        )
    except InputError as error:
        raise InputError([*error.problems, *problems]) from error
    if problems:
        raise InputError(problems)
    return replace(prepared, notices=(*host.model_notes, *prepared.notices, *refuse_unpublishable(config)))


def image_scanner(config: TrainConfig, known: KnownImages, room: int) -> Scanner:
    """What scans the folders of a run's subsets, as their settings say."""
    latents = latents_folder(config)
    known = {**(read_index(latents) if latents else {}), **known}

    def scan(folder: Path, subset: TrainConfig) -> ImageScan:
        nonlocal room
        masks = path_given(subset.mask_folder) if subset.mask_folder.strip() else None
        found = scan_images(folder, subset.fit_rules, known, room, subset.recursive, masks)
        room -= sum(image.nbytes for image in found.fitted.values())
        return found

    return scan


def embedding_files(folder: Path) -> list[Path]:
    """The embeddings' files in their folder, by name."""
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
    refuse_changed([image.picture for image in prepared.images])
    config = prepared.config
    if resumes or config.overwrite:
        return
    words = {word.name.lower() for word in host.known_words()}
    stems = {path.stem.lower() for path in embedding_files(host.embeddings_folder)}
    if taken := [word.name for word in prepared.words if word.name.lower() in words | stems]:
        raise InputError(
            message(
                "run.name_taken_meanwhile",
                'An embedding "{name}" has appeared since the run was checked. Choose another name, or set overwrite '
                "(the old file is kept as a backup).",
                name=taken[0],
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


def _place_problems(folder: Path, names: Sequence[str]) -> list[Message]:
    """Folders that lie where the embeddings of these names would be written."""
    places = [folder / f"{name}{suffix}" for name in names for suffix in TENSOR_SUFFIXES]
    return [
        message(
            "run.folder_in_place",
            '"{path}" is a folder, so that no embedding can be written there. Rename it, or choose another name.',
            path=path,
        )
        for path in places
        if os.path.isdir(path)
    ]


def host_problems(config: TrainConfig, host: Host) -> list[Message]:
    """What cannot be done here of what is set for losses, previews, files and trackers."""
    return [*model_problems(config, host), *tracker_problems(config)]


def model_problems(config: TrainConfig, host: Host) -> list[Message]:
    """What cannot be done with this model, in this program, of what is set for losses, previews and files.

    It takes no time, so that it can be told while settings are typed.
    """
    return [
        *prediction_problems(config, host.prediction),
        *_sampling_problems(config, host),
        *_format_problems(config, host),
    ]


def _format_problems(config: TrainConfig, host: Host) -> list[Message]:
    if config.save_format != "pt" or len(host.token_table.widths) == 1:
        return []
    return [
        message(
            "run.no_pt_of_two_encoders",
            "{label} ({name}) is pt, which no program reads for a model with two text encoders (SDXL). Choose "
            "auto or safetensors.",
            label=SETTINGS["save_format"].label,
            name="save_format",
        )
    ]


def _sampling_problems(config: TrainConfig, host: Host) -> list[Message]:
    if not config.has_previews:
        return []
    settings = (
        ("preview_sampler", config.preview_sampler, host.samplers),
        ("preview_scheduler", config.preview_scheduler, ["", *host.schedulers]),
    )
    problems = [_no_such_choice(name, value, choices) for name, value, choices in settings if value not in choices]
    return problems + _prompt_problems(config, host)


def _prompt_problems(config: TrainConfig, host: Host) -> list[Message]:
    """Prompts of previews whose own sampling method does not exist here."""
    try:
        prompts = preview_prompts(config)
    except InputError:
        return []  # told where the prompts are read
    return [
        message(
            "run.no_such_sampler",
            '{place}: there is no sampling method "{value}" here. Choose one of {choices:, }.',
            place=prompt.place,
            value=prompt.requests[0].sampler,
            choices=list(host.samplers),
        )
        for prompt in prompts
        if prompt.requests[0].sampler not in (config.preview_sampler, *host.samplers)
    ]


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
    """The settings with the host's own in the place of each 0 that means them, and with images of the hub fetched."""
    size = host.native_size
    config = config.but(
        **_fetched({"images": config.images}),
        width=config.width or size,
        height=config.height or size,
        clip_skip=config.clip_skip or host.clip_skip,
    )
    words = as_text([_with_class_folder(_fetched(table), config, host) for table in tables_in(config.words)])
    return config.but(words=words, **_class_folder(config, host))


def _fetched(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose images, where they are at the hub, are in a folder here."""
    at_the_hub = is_at_the_hub(values.get("images", ""))
    return {**values, **({"images": str(fetch_images(values["images"]))} if at_the_hub else {})}


def _class_folder(config: TrainConfig, host: Host) -> dict[str, str]:
    """The folder for images of the class, where these are to be generated and none is named."""
    lacks_one = config.num_class_images and config.prior_loss_weight and not config.reg_images.strip()
    return {"reg_images": str(class_images_folder(config, host.facts))} if lacks_one else {}


def _with_class_folder(table: Mapping[str, Any], config: TrainConfig, host: Host) -> dict[str, Any]:
    """A table of [[words]] with that of the word, which may be of another class than the others."""
    word = next((one for one in config.word_settings if one.name == table.get("name") and one.own), None)
    return {**table, **(_class_folder(config.of_word(word), host) if word else {})}
