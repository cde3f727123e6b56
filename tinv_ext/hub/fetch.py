"""What lies at the hub, by a name: "hub:owner/name", the folder or file that the client keeps in its own cache."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tinv_ext.core.data.image_folder import IMAGE_SUFFIXES
from tinv_ext.core.errors import InputError
from tinv_ext.core.formats.diffusers_folder import other_stem
from tinv_ext.core.messages import message
from tinv_ext.core.suffixes import EMBEDDING_SUFFIXES, TENSOR_SUFFIXES
from tinv_ext.hub.client import client, told_plainly

PREFIX = "hub:"
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:.+)?")
_BESIDE_IMAGES = (".txt", ".caption", ".json", ".jsonl", ".toml", ".csv", ".tags")


def is_at_the_hub(text: str) -> bool:
    """Whether a text names something at the hub."""
    return text.strip().startswith(PREFIX)


def may_be_at_the_hub(text: str) -> bool:
    """Whether "owner/name" or "owner/name:file" can only be meant there.

    Nothing on this machine is called so, nor is a folder called as the owner: a slip in a path is told to nobody.
    """
    match = _ID.fullmatch(text.strip())
    if not match or (not match[1] and match[0].lower().endswith(EMBEDDING_SUFFIXES)):
        return False
    return not Path(text).exists() and not Path(text).parent.exists()


def _in_any_case(suffix: str) -> str:
    """A pattern of the suffix, be its letters small or capital."""
    return "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in suffix)


def fetch_images(text: str) -> Path:
    """The folder of images of a dataset, or else of a model, with their captions; other files stay at the hub.

    InputError where there is none with images in it, HostError where the hub cannot be reached.
    """
    repository = text.strip().removeprefix(PREFIX)
    patterns = [f"*{_in_any_case(suffix)}" for suffix in (*IMAGE_SUFFIXES, *_BESIDE_IMAGES)]
    hub = client()
    with told_plainly(repository):
        kind = "dataset" if hub.repo_exists(repository, repo_type="dataset") else "model"
        folder = Path(hub.snapshot_download(repository, repo_type=kind, allow_patterns=patterns))
    if any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.rglob("*")):
        return folder
    raise InputError(
        message(
            "hub.no_images",
            '"{repository}" has no image files. Only folders of images can be used; of a dataset in parquet '
            "files, save the images in a folder first.",
            repository=repository,
        )
    )


def fetch_embedding(text: str) -> Path:
    """The file of an embedding in a repository: learned_embeds where diffusers or a concept library put it, else one.

    Beside that of one of SDXL's text encoders lies that of the other then.
    InputError where there is none or more than one, HostError where the hub cannot be reached.
    """
    repository, _, file = text.strip().removeprefix(PREFIX).partition(":")
    hub = client()
    with told_plainly(repository):
        there = [name for name in hub.list_repo_files(repository) if name.lower().endswith(TENSOR_SUFFIXES)]
        learned = [name for name in there if Path(name).name.startswith("learned_embeds.")]
        # those of the first of several words before others, .safetensors before .bin
        learned.sort(key=lambda name: (name.count("/"), name.endswith(".bin"), name))
        found = [file] if file else (learned[:1] or there)
        if len(found) == 1:
            here, *_ = [Path(hub.hf_hub_download(repository, name)) for name in (*found, *_other_half(found[0], there))]
            return here
    raise InputError(
        message(
            "hub.which_embedding",
            '"{repository}" has {count:embedding file|embedding files} ({files:, }). Name one as hub:owner/name:file.',
            repository=repository,
            count=len(there),
            files=there,
        )
        if there
        else message("hub.no_embedding", '"{repository}" has no embedding file.', repository=repository)
    )


def _other_half(file: str, there: Sequence[str]) -> list[str]:
    """The file beside one of `learned_embeds` that has the vectors of SDXL's other text encoder, if there is one."""
    path = PurePosixPath(file)
    stem = other_stem(path.stem)
    others = [other for other in map(PurePosixPath, there) if (other.parent, other.stem) == (path.parent, stem)]
    others.sort(key=lambda other: other.suffix != path.suffix)
    return [str(other) for other in others[:1]]
