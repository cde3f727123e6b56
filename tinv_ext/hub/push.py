"""Uploading an embedding to the hub: files that diffusers and the WebUI read, and a card that shows what it does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinv_ext.core.atomic import atomic_write, make_folder
from tinv_ext.core.embedding import Embedding, token_of
from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.formats import suffix_of, usual_format, write_embedding
from tinv_ext.core.messages import message
from tinv_ext.hub.client import client, has_token, told_plainly
from tinv_ext.hub.model_card import Shown, card


@dataclass(frozen=True)
class Repository:
    """Where an embedding goes: "owner/name", or "name" of the account that is logged in."""

    id: str
    private: bool = False


def refuse_push(repository: Repository, replace: bool) -> None:
    """InputError where nothing could be uploaded there: no right to write, a repository that exists.

    HostError where it cannot be known now, because nobody is logged in or there is no network: that may change.
    """
    hub = client()
    if not has_token():
        raise HostError(
            message(
                "hub.no_token",
                "Nobody is logged in at the hub on this machine. Log in once (hf auth login), or set HF_TOKEN.",
            )
        )
    with told_plainly(repository.id):
        account = hub.whoami()
        _refuse_reading(account, repository)
        if replace or not hub.repo_exists(_full_id(repository, account)):
            return
    raise InputError(
        message(
            "hub.exists",
            '"{repository}" exists at the hub. Choose another name (hub_model_id), or set overwrite to replace its '
            "files of the same names.",
            repository=repository.id,
        )
    )


def push(embedding: Embedding, repository: Repository, shown: Shown, folder: Path) -> str:
    """Write what is uploaded into `folder`, upload it, and return its address.

    InputError where the hub refuses it, HostError where it cannot be reached; the folder stays, to try again.
    """
    hub = client()
    with told_plainly(repository.id):
        made = hub.create_repo(repository.id, private=repository.private or None, exist_ok=True)
    _write(embedding, made.repo_id, shown, folder)
    with told_plainly(repository.id):
        hub.upload_folder(repo_id=made.repo_id, folder_path=str(folder), commit_message=f"Upload {token_of(embedding)}")
    return str(made)


def _refuse_reading(account: Mapping[str, Any], repository: Repository) -> None:
    """InputError for a token that may only read; of finer ones only the hub knows what they may."""
    role = ((account.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise InputError(
            message(
                "hub.reads_only",
                'The token of this machine may only read; it cannot upload to "{repository}". Make one with the '
                "right to write at huggingface.co/settings/tokens, and log in with it.",
                repository=repository.id,
            )
        )


def _full_id(repository: Repository, account: Mapping[str, Any]) -> str:
    return repository.id if "/" in repository.id else f"{account['name']}/{repository.id}"


def _write(embedding: Embedding, repository: str, shown: Shown, folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)  # of a try before
    make_folder(folder)
    for one in (embedding, *(other.embedding for other in shown.others)):
        write_embedding(one, folder / f"{one.name}{suffix_of(usual_format(one.vectors))}")
        own = folder if one is embedding else folder / one.name
        write_embedding(one, own, format="diffusers-folder")
    make_folder(folder / "images")
    for name, image in shown.files().items():
        shutil.copyfile(image, folder / "images" / f"{name}.png")
    with atomic_write(folder / "README.md") as file:
        file.write(card(embedding, repository, shown).encode("utf-8"))
