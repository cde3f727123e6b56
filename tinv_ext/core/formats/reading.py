"""Reading an embedding from any file that some program writes one into, judged by content and never by suffix."""

from __future__ import annotations

import re
from pathlib import Path

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError, InputError, TinvError
from tinv_ext.core.formats.diffusers_folder import folder_contents
from tinv_ext.core.formats.layouts import Contents, Found, contents_of
from tinv_ext.core.formats.metadata import with_metadata
from tinv_ext.core.formats.pictures import image_payload, is_image
from tinv_ext.core.formats.safetensors_file import looks_like_safetensors, read_safetensors
from tinv_ext.core.formats.tensors import load_tensor
from tinv_ext.core.formats.torch_read import MAX_FILE_BYTES, read_torch
from tinv_ext.core.names import name_problems

LOOKALIKES = {
    b"<": "a web page: the download went wrong, fetch it again",
    b"version https://": "a Git LFS pointer: fetch the file itself (`git lfs pull`)",
    b"\xff\xd8\xff": "a JPEG, which cannot carry an embedding: it loses the lowest bits",
    b"{": "a text with settings, not tensors",
    b"\x93NUMPY": "of numpy, as diffusers' script for JAX leaves it: convert it with the program that made it",
}


def read_embedding(path: Path, *, name: str | None = None) -> Embedding:
    """The embedding in the file `path`, of any format (docs/formats.md lists them); also a folder as diffusers writes
    it.

    Its name is `name`, else that inside a picture or bundle, else the file's stem, as the WebUI has it. From a file of
    several embeddings `name` picks one. Raises FormatError, in a sentence with the path, when the file is damaged, is
    hostile, or is something else; InputError when it is missing. Nothing in the file is ever run.
    """
    contents = read_contents(path)
    try:
        found = _picked(contents, name)
        return _embedding(found, name or _name(path, contents, found))
    except (OSError, TinvError) as error:
        raise FormatError(f"{path}: {error}") from error


def read_all(path: Path) -> dict[str, Embedding]:
    """Every embedding in the file by its name; several for a LoRA bundle, else one. Raises as `read_embedding`.

    Names inside a bundle are as its maker wrote them: ask `name_problems` before making a path of one.
    """
    contents = read_contents(path)
    try:
        named = {_name(path, contents, found): found for found in contents.embeddings}
        return {name: _embedding(found, name) for name, found in named.items()}
    except (OSError, TinvError) as error:
        raise FormatError(f"{path}: {error}") from error


def read_contents(path: Path) -> Contents:
    """What the file holds: its format in words, and its embeddings with their tensors still unread."""
    try:
        if path.is_dir():
            return folder_contents(path, _contents)
        if not path.is_file():
            raise InputError(f"{path} is not there, or is not a file: give an embedding's file.")
        return _contents(path)
    except OSError as error:
        why = error.strerror or error
        raise FormatError(f"{path}: the file cannot be read ({why}): check the rights and the disk.") from error
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error


def _contents(path: Path) -> Contents:
    with open(path, "rb") as file:
        head = file.read(16)
        size = file.seek(0, 2)
    if is_image(head):
        values, place = image_payload(path)
        return _in(f"picture ({place})", contents_of(values), named=True)
    if looks_like_safetensors(head, size):
        tensors, metadata = read_safetensors(path)
        return _in("safetensors", with_metadata(contents_of(tensors), metadata))
    if head[:2] != b"PK" and head[:1] != b"\x80":
        raise FormatError(_not_known(head, size))
    if size > MAX_FILE_BYTES:
        raise FormatError(f"The file has {size} bytes: too large for an embedding, it may be a checkpoint.")
    return _in("torch zip" if head[:2] == b"PK" else "torch legacy", contents_of(read_torch(path.read_bytes())))


def _in(container: str, contents: Contents, named: bool = False) -> Contents:
    return Contents(contents.layout, contents.embeddings, contents.named or named, container)


def _not_known(head: bytes, size: int) -> str:
    if not size:
        return "The file is empty: it was cut off when it was saved or copied."
    for start, what in LOOKALIKES.items():
        if head.startswith(start):
            return f"The file is {what}."
    return f"The file begins with {head[:8]!r}, which no format of embeddings does: it is damaged or something else."


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
    """Pictures and bundles tell the name, `learned_embeds` has it as its key; else it is the stem, as for the WebUI.

    A name that would not be legal is not taken from a file that holds only one.
    """
    label = (found.label or "").strip("<>")
    if len(contents.embeddings) > 1:
        return str(found.label)
    generic = re.fullmatch(r"learned_embeds(_2)?(-steps-\d+)?", path.stem) is not None
    return label if (contents.named or generic) and not name_problems(label) else path.stem


def _embedding(found: Found, name: str) -> Embedding:
    vectors = {key: load_tensor(tensor, key) for key, tensor in found.vectors.items()}
    return Embedding(name, vectors, found.step, found.model_hash, found.model_name, found.facts)
