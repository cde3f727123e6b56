"""Reading an embedding from any file that some program writes one into, judged by content and never by suffix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tinv_ext.core.embedding import PRECISIONS, TOKEN, Embedding, token_of
from tinv_ext.core.errors import FormatError, InputError, TinvError
from tinv_ext.core.formats.diffusers_folder import is_generic_stem, other_half, read_folder, read_pair
from tinv_ext.core.formats.image_read import is_image, read_image_values
from tinv_ext.core.formats.layouts import FileContents, StoredEmbedding, contents_of
from tinv_ext.core.formats.metadata import with_metadata
from tinv_ext.core.formats.safetensors_file import looks_like_safetensors, read_safetensors
from tinv_ext.core.formats.tensors import load_as_stored
from tinv_ext.core.formats.torch_read import MAX_FILE_BYTES, file_too_large, read_torch
from tinv_ext.core.messages import Message, message
from tinv_ext.core.names import name_problems

IMAGE = "image"
"""Begins the container of an image's contents."""

LOOKALIKES: Mapping[bytes, Message] = {
    b"<": message("formats.is_web_page", "a web page. The download went wrong; download it again"),
    b"version https://": message("formats.is_git_lfs", "a Git LFS pointer. Fetch the file itself (git lfs pull)"),
    b"\xff\xd8\xff": message("formats.is_jpeg", "a JPEG, which cannot carry an embedding: it loses the lowest bits"),
    b"{": message("formats.is_json", "JSON text, not tensors"),
    b"\x93NUMPY": message(
        "formats.is_numpy",
        "a numpy array, as diffusers' JAX script saves it. Convert it with the program that made it",
    ),
}


def read_embedding(path: Path, *, name: str | None = None) -> Embedding:
    """The embedding in a file of any format (docs/formats.md lists them), or in a folder as diffusers writes it.

    Its name is `name`, else that inside an image or bundle, else the file's stem, as the WebUI has it. From a file of
    several embeddings `name` picks one. Raises FormatError, in a sentence with the path, when the file is damaged, is
    hostile, or is something else; InputError when it is missing. Nothing in the file is ever run.
    """
    contents = read_contents(path)
    with _naming(path):
        stored = _picked(contents, name)
        return _loaded(stored, name or _name(path, contents, stored))


def read_all(path: Path) -> dict[str, Embedding]:
    """Every embedding in the file by its name; several for a LoRA bundle, else one. Raises as `read_embedding`.

    Names inside a bundle are as its maker wrote them: ask `name_problems` before making a path of one.
    """
    contents = read_contents(path)
    with _naming(path):
        named = {_name(path, contents, stored): stored for stored in contents.embeddings}
        return {name: _loaded(stored, name) for name, stored in named.items()}


def read_words(path: Path) -> dict[str, Embedding]:
    """Every embedding in the file by each word that calls it up: its name, the file's stem, the token inside as it is.

    So what diffusers' users know as "<cat-toy>" in learned_embeds.bin is found as that, as "cat-toy", and by the file.
    """
    contents = read_contents(path)
    words: dict[str, Embedding] = {}
    with _naming(path):
        for stored in contents.embeddings:
            embedding = _loaded(stored, _name(path, contents, stored))
            label = token_of(embedding) if embedding.name == _bare(token_of(embedding)) else stored.label or ""
            bare = _bare(label)
            inside = [] if name_problems(bare) or label == embedding.name else [bare, label]
            for name in (embedding.name, *([path.stem] if len(contents.embeddings) == 1 else []), *inside):
                words[name] = embedding
    return words


def read_contents(path: Path) -> FileContents:
    """What the file holds: its format in words, and its embeddings with their tensors still unread."""
    with _naming(path):
        if path.is_dir():
            return read_folder(path, _file_contents)
        if path.is_file():
            other = other_half(path)
            pair = read_pair(path, other, _file_contents) if other else None
            return pair or _file_contents(path)
    raise InputError(
        message("formats.no_file", "{path} does not exist or is not a file. Give the file of an embedding.", path=path)
    )


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors inside become FormatErrors that say which file is meant."""
    try:
        yield
    except OSError as error:
        unreadable = message(
            "formats.unreadable",
            "The file cannot be read ({error}). Check its permissions and the disk.",
            error=error.strerror or str(error),
        )
        raise FormatError(_in_file(path, (unreadable,))) from error
    except TinvError as error:
        raise FormatError(_in_file(path, error.problems)) from error


def _in_file(path: Path, problems: tuple[str, ...]) -> Message:
    return message("formats.in_file", "{path}: {problems: }", path=path, problems=problems)


def problem_of(error: TinvError) -> str:
    """What is wrong with a file, without its path: for lists that show that beside."""
    problem = error.problems[0]
    if isinstance(problem, Message) and problem.id == "formats.in_file" and len(problem.values["problems"]) == 1:
        only: str = problem.values["problems"][0]
        return only
    return problem


def _file_contents(path: Path) -> FileContents:
    with open(path, "rb") as file:
        head = file.read(16)
        size = file.seek(0, 2)
    if is_image(head):
        values, where = read_image_values(path)
        return _in(f"{IMAGE} ({where})", contents_of(values), named=True)
    if looks_like_safetensors(head, size):
        tensors, metadata = read_safetensors(path)
        return _in("safetensors", with_metadata(contents_of(tensors), metadata))
    if head[:2] != b"PK" and head[:1] != b"\x80":
        raise FormatError(_unknown(head, size))
    if size > MAX_FILE_BYTES:
        raise FormatError(file_too_large(size))
    return _in("torch zip" if head[:2] == b"PK" else "torch legacy", contents_of(read_torch(path.read_bytes())))


def _in(container: str, contents: FileContents, named: bool = False) -> FileContents:
    return FileContents(contents.layout, contents.embeddings, contents.named or named, container)


def _unknown(head: bytes, size: int) -> Message:
    if not size:
        return message("formats.empty", "The file is empty. Saving or copying it was interrupted.")
    for start, kind in LOOKALIKES.items():
        if head.startswith(start):
            return message("formats.lookalike", "The file is {kind}.", kind=kind)
    return message(
        "formats.unknown",
        "The file begins with {head}, which is no known format of an embedding. It is damaged or something else.",
        head=repr(head[:8]),
    )


def _picked(contents: FileContents, name: str | None) -> StoredEmbedding:
    """The only embedding, or the one called `name`."""
    if len(contents.embeddings) == 1:
        return contents.embeddings[0]
    labels = [str(stored.label) for stored in contents.embeddings]
    if name in labels:
        return contents.embeddings[labels.index(name)]
    shown = [f'"{label[:80]}"' for label in labels[:20]] + (["…"] if len(labels) > 20 else [])
    if name:
        raise FormatError(
            message(
                "formats.not_among",
                'The file has {count} embeddings ({names:, }), but none is called "{name}". Give one of these names.',
                count=len(labels),
                names=shown,
                name=name[:80],
            )
        )
    raise FormatError(
        message(
            "formats.several",
            "The file has {count} embeddings ({names:, }). Choose one by its name; tinv convert --pick NAME writes one "
            "into a file of its own.",
            count=len(labels),
            names=shown,
        )
    )


def _name(path: Path, contents: FileContents, stored: StoredEmbedding) -> str:
    """Images and bundles tell the name, `learned_embeds` has it as its key; else it is the stem, as for the WebUI.

    A name that would not be legal is not taken from a file that holds only one.
    """
    if len(contents.embeddings) > 1:
        return str(stored.label)
    label = _bare(stored.label or "")
    inside = contents.named or is_generic_stem(path.stem)
    return label if inside and not name_problems(label) else path.stem


def _bare(token: str) -> str:
    """A token of diffusers' users, "<cat-toy>", as a file can be called: without the brackets."""
    return token.strip("<>")


def _loaded(stored: StoredEmbedding, name: str) -> Embedding:
    vectors = {key: load_as_stored(tensor, key) for key, tensor in stored.vectors.items()}
    types = {tensor.dtype for tensor in vectors.values()}
    precision = next((name for name, dtype in PRECISIONS.items() if types == {dtype}), "float32")
    facts = dict(stored.facts)
    if stored.label != name and _bare(stored.label or "") == name:
        facts.setdefault(TOKEN, stored.label)
    return Embedding(name, vectors, stored.step, stored.model_hash, stored.model_name, facts, precision)
