"""Uploading an embedding to the hub: files that diffusers and the WebUI read, and a card that shows what it does."""

from __future__ import annotations

import json
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

_TAGS = ("textual_inversion", "stable-diffusion", "text-to-image", "diffusers")


@dataclass(frozen=True)
class Repository:
    """Where an embedding goes: "owner/name", or "name" of the account that is logged in."""

    id: str
    private: bool = False


@dataclass(frozen=True)
class Shown:
    """What the card shows beside the embedding: images by what they are called, and the settings of the run."""

    images: Mapping[str, Path]
    settings: Mapping[str, Any]


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
    write_embedding(embedding, folder / f"{embedding.name}{suffix_of(usual_format(embedding.vectors))}")
    write_embedding(embedding, folder, format="diffusers-folder")
    make_folder(folder / "images")
    for name, image in shown.images.items():
        shutil.copyfile(image, folder / "images" / f"{name}.png")
    with atomic_write(folder / "README.md") as file:
        file.write(_card(embedding, repository, shown).encode("utf-8"))


def _card(embedding: Embedding, repository: str, shown: Shown) -> str:
    """README.md as the hub wants it: YAML between dashes (JSON is YAML), then Markdown."""
    settings, token = shown.settings, token_of(embedding)
    about: dict[str, Any] = {
        "library_name": "diffusers",
        "tags": [*_TAGS, *_words(settings.get("tags", ""))],
        "inference": False,
    }
    about |= {"license": str(settings["license"])} if settings.get("license") else {}
    head = "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in about.items())
    images = "\n".join(f"| {name} | ![{name}](images/{name}.png) |" for name in shown.images)
    rows = "\n".join(f"| {name} | `{_cell(value)}` |" for name, value in settings.items() if value not in ("", None))
    file = f"{embedding.name}{suffix_of(usual_format(embedding.vectors))}"
    return f"""---
{head}
---
# {settings.get("title") or embedding.name}

{settings.get("description") or f"A word for {embedding.family} ({embedding.count} vectors): **{token}**."}

{"| | |" if images else ""}
{"| --- | --- |" if images else ""}
{images}

In the WebUI: put `{file}` into `embeddings/` and write `{embedding.name}` in a prompt. In diffusers:

```python
pipe.load_textual_inversion("{repository}")
image = pipe("a photo of {token}").images[0]
```

Trained for {embedding.step or 0} steps on {embedding.model_name or "an unnamed model"} {embedding.model_hash or ""},
by textual inversion (arXiv 2208.01618).

| setting | value |
| --- | --- |
{rows}
"""


def _words(tags: str) -> list[str]:
    return [tag.strip() for tag in tags.split(",") if tag.strip()]


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ").replace("`", "'")
