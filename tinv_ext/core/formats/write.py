"""Writing an embedding in the format that each program reads: checked by our own reader before it takes its place."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from tinv_ext.core.atomic import atomic_write
from tinv_ext.core.embedding import Embedding, token_of
from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.formats.diffusers_folder import write_folder
from tinv_ext.core.formats.image_write import write_png
from tinv_ext.core.formats.metadata import metadata_of
from tinv_ext.core.formats.read import read_embedding
from tinv_ext.core.formats.safetensors_file import safetensors_bytes
from tinv_ext.core.formats.torch_bytes import torch_bytes
from tinv_ext.core.formats.webui import webui_values
from tinv_ext.core.messages import message

Encode = Callable[[Embedding], bytes]


def write_embedding(
    embedding: Embedding,
    path: Path,
    *,
    format: str | None = None,  # noqa: A002 (the word that users give)
    validate_file: Callable[[Path], None] = lambda written: None,
) -> None:
    """Write `embedding` to `path`, all of it or nothing.

    `format` is a key of FORMATS or, for a folder of diffusers, of FOLDERS; without it the suffix decides (DEFAULTS).
    Each file is read back and compared before it replaces what was there, and `validate_file` may refuse it. Raises
    InputError when the format cannot hold this embedding, HostError when the disk refuses.
    """
    chosen = format or DEFAULTS.get(path.suffix.lower())
    if chosen in FOLDERS:
        write_folder(embedding, path, FOLDERS[chosen])
        _check_written(embedding, path, path)
        return
    if chosen not in FORMATS:
        raise InputError(
            message(
                "formats.unknown_format",
                '{file}: there is no format "{format}". Choose one of {formats:, }, or end the file name with one of '
                "{suffixes:, }.",
                file=path.name,
                format=format or path.suffix,
                formats=[*FORMATS, *FOLDERS],
                suffixes=list(DEFAULTS),
            )
        )
    data = FORMATS[chosen](embedding)
    with atomic_write(path) as file:
        file.write(data)
        file.flush()
        _check_written(embedding, Path(file.name), path)
        validate_file(Path(file.name))


def _check_written(embedding: Embedding, written: Path, target: Path) -> None:
    again = read_embedding(written)
    same = again.vectors.keys() == embedding.vectors.keys() and all(
        torch.equal(again.vectors[key], embedding.vectors[key]) for key in again.vectors
    )
    if not same:
        raise FormatError(
            message(
                "formats.written_wrong",
                "{path} could not be read back as it was written, so it was not kept. Check the disk and its free "
                "space.",
                path=target,
            )
        )


def _a1111(embedding: Embedding) -> bytes:
    return torch_bytes(webui_values(embedding, token_of(embedding)))


def _kohya(embedding: Embedding) -> bytes:
    return safetensors_bytes({"emb_params": _only_tensor(embedding, "kohya")}, metadata_of(embedding))


def _onetrainer(embedding: Embedding) -> bytes:
    return safetensors_bytes({"emp_params": _only_tensor(embedding, "onetrainer")}, metadata_of(embedding))


def _by_encoder(embedding: Embedding) -> bytes:
    return safetensors_bytes(embedding.stored(), metadata_of(embedding))


def _safetensors(embedding: Embedding) -> bytes:
    """The layout that every program takes: one tensor as `emb_params`, several by their encoder.

    A token in angle brackets is the key of one tensor: diffusers finds the word by it, the others by the file's name.
    """
    if len(embedding.vectors) > 1:
        return _by_encoder(embedding)
    return _kohya(embedding) if token_of(embedding) == embedding.name else _diffusers(embedding)


def _diffusers(embedding: Embedding) -> bytes:
    return safetensors_bytes({token_of(embedding): _only_tensor(embedding, "diffusers")}, metadata_of(embedding))


def _diffusers_bin(embedding: Embedding) -> bytes:
    """One tensor under the word, and nothing else: diffusers takes a dictionary of one entry only."""
    return torch_bytes({token_of(embedding): _only_tensor(embedding, "diffusers-bin")})


def _only_tensor(embedding: Embedding, chosen: str) -> torch.Tensor:
    if len(embedding.vectors) != 1:
        raise InputError(
            message(
                "formats.several_encoders",
                'The embedding "{name}" is for {count} text encoders (SDXL), but the format {format} holds only one. '
                "Choose safetensors or png.",
                name=embedding.name,
                count=len(embedding.vectors),
                format=chosen,
            )
        )
    return next(iter(embedding.stored().values()))


def _png(embedding: Embedding) -> bytes:
    """A plain image that carries the embedding, for conversions where there is no preview to put it into."""
    file = io.BytesIO()
    write_png(Image.new("RGB", (512, 512), (40, 44, 52)), embedding, file, {})
    return file.getvalue()


FORMATS: dict[str, Encode] = {
    "a1111": _a1111,
    "safetensors": _safetensors,
    "kohya": _kohya,
    "diffusers": _diffusers,
    "diffusers-bin": _diffusers_bin,
    "onetrainer": _onetrainer,
    "png": _png,
}
FOLDER, FOLDER_OF_BIN = "diffusers-folder", "diffusers-folder-bin"
FOLDERS = {FOLDER: ".safetensors", FOLDER_OF_BIN: ".bin"}
"""Folders as diffusers' scripts and the concept library have them, with the suffix of the files in them."""
DEFAULTS = {".pt": "a1111", ".safetensors": "safetensors", ".bin": "diffusers-bin", ".png": "png"}
_SUFFIXES = {"a1111": ".pt", "diffusers-bin": ".bin", "png": ".png", FOLDER: "", FOLDER_OF_BIN: ""}
"""The suffix by which programs know a format, where it is not `.safetensors`."""


def suffix_of(chosen: str) -> str:
    """The suffix that a file of this format must have for programs that go by it."""
    return _SUFFIXES.get(chosen, ".safetensors")


def usual_format(vectors: Mapping[str, Tensor]) -> str:
    """The format that programs expect first of vectors by encoder: `a1111`, for SDXL's two `safetensors`."""
    return "a1111" if len(vectors) == 1 else "safetensors"
