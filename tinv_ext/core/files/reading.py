"""Reading an embedding from any file that some program writes one into, judged by content and never by suffix."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError, InputError, TinvError
from tinv_ext.core.files.layouts import FACTS_KEY, Contents, Found, contents_of
from tinv_ext.core.files.png import image_payload, is_image
from tinv_ext.core.files.safetensors_file import looks_like_safetensors, read_safetensors
from tinv_ext.core.files.tensors import load_tensor
from tinv_ext.core.files.torch_read import MAX_FILE_BYTES, read_torch


def read_embedding(path: Path, *, name: str | None = None) -> Embedding:
    """The embedding in the file `path`, of any format (docs/formats.md lists them).

    Its name is `name`, else that inside a picture or bundle, else the file's stem, as the WebUI has it. From a file of
    several embeddings `name` picks one. Raises FormatError, in a sentence with the path, when the file is damaged, is
    hostile, or is something else; InputError when it is missing. Nothing in the file is ever run.
    """
    contents = read_contents(path)
    try:
        return _embedding(_picked(contents, name), name or _name(path, contents, _picked(contents, name)))
    except TinvError as error:
        raise FormatError(f"{path}: {error}") from error


def read_all(path: Path) -> dict[str, Embedding]:
    """Every embedding in the file by its name; several for a LoRA bundle, else one. Raises as `read_embedding`."""
    contents = read_contents(path)
    try:
        named = {_name(path, contents, found): found for found in contents.embeddings}
        return {name: _embedding(found, name) for name, found in named.items()}
    except TinvError as error:
        raise FormatError(f"{path}: {error}") from error


def read_contents(path: Path) -> Contents:
    """What the file holds: its format in words, and its embeddings with their tensors still unread."""
    if not path.is_file():
        raise InputError(f"{path} is not there, or is not a file: give an embedding's file.")
    try:
        return _contents(path)
    except OSError as error:
        raise FormatError(
            f"{path}: the file cannot be read ({error.strerror or error}): check the rights and the disk."
        ) from error
    except TinvError as error:
        raise FormatError(f"{path}: {error}") from error


def _contents(path: Path) -> Contents:
    with open(path, "rb") as file:
        head = file.read(16)
        size = file.seek(0, 2)
    if is_image(head):
        values, words = image_payload(path)
        return _described(contents_of(values), words)
    if looks_like_safetensors(head, size):
        tensors, metadata = read_safetensors(path)
        return _described(_with_metadata(contents_of(tensors), metadata), "safetensors")
    if head[:2] != b"PK" and head[:1] != b"\x80":
        what = (
            "The file is empty"
            if not size
            else f"The file begins with {head[:8]!r}, which no format of embeddings does"
        )
        raise FormatError(f"{what}: expected .pt, .bin, .safetensors, .png or .webp content.")
    if size > MAX_FILE_BYTES:
        raise FormatError(f"The file has {size} bytes: too large for an embedding, it may be a checkpoint.")
    return _described(contents_of(read_torch(path.read_bytes())), "zip" if head[:2] == b"PK" else "legacy torch")


def _described(contents: Contents, container: str) -> Contents:
    return Contents(f"{contents.layout}, {container}", contents.embeddings)


def _with_metadata(contents: Contents, metadata: Mapping[str, str]) -> Contents:
    """The texts beside the tensors: ours under FACTS_KEY as JSON, else another program's as they are."""
    if len(contents.embeddings) != 1:
        return contents
    found = contents.embeddings[0]
    if FACTS_KEY not in metadata:
        facts: dict[str, Any] = {key: value for key, value in metadata.items() if key != "format"}
        return Contents(contents.layout, (Found(found.vectors, found.label, facts=facts, left_out=found.left_out),))
    own = _own_metadata(metadata[FACTS_KEY])
    step, model_hash, model_name = (own.get(key) for key in ("step", "model_hash", "model_name"))
    return Contents(
        contents.layout,
        (
            Found(
                found.vectors,
                own["name"] if isinstance(own.get("name"), str) else found.label,
                step if type(step) is int else None,
                model_hash if isinstance(model_hash, str) else None,
                model_name if isinstance(model_name, str) else None,
                own.get("facts", {}),
                found.left_out,
            ),
        ),
    )


def _own_metadata(text: str) -> dict[str, Any]:
    try:
        own = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(
            f"The facts in the file's metadata are not JSON ({type(error).__name__}): the file is damaged."
        ) from error
    if not isinstance(own, dict) or not isinstance(own.get("facts", {}), dict):
        raise FormatError("The facts in the file's metadata are not a table: the file is damaged.")
    return own


def _picked(contents: Contents, name: str | None) -> Found:
    """The only embedding, or the one called `name`."""
    if len(contents.embeddings) == 1:
        return contents.embeddings[0]
    labels = [str(found.label) for found in contents.embeddings]
    if name in labels:
        return contents.embeddings[labels.index(name)]
    asked = f"'{name[:80]}' is not among them" if name else "say which one"
    listed = ", ".join(f"'{label[:80]}'" for label in labels[:20]) + (" …" if len(labels) > 20 else "")
    raise FormatError(f"The file holds {len(labels)} embeddings ({listed}): {asked}; give its name.")


def _name(path: Path, contents: Contents, found: Found) -> str:
    """Pictures and bundles tell the name, `learned_embeds` has it as its key; else it is the stem, as for the WebUI."""
    if len(contents.embeddings) > 1 or contents.layout.startswith("LoRA bundle"):
        return str(found.label)
    generic = re.match(r"learned_embeds(_2)?(-steps-\d+)?$", path.stem) is not None
    if found.label and (generic or "picture" in contents.layout):
        return found.label.strip("<>") or path.stem
    return path.stem


def _embedding(found: Found, name: str) -> Embedding:
    vectors = {key: load_tensor(tensor, key) for key, tensor in found.vectors.items()}
    return Embedding(name, vectors, found.step, found.model_hash, found.model_name, found.facts)
