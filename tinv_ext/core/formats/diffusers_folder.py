"""The folder that diffusers' textual inversion scripts leave, and concept libraries share.

`learned_embeds.safetensors` holds {word: vectors}, for SDXL `learned_embeds_2.safetensors` those of the second encoder;
`token_identifier.txt` the word and `type_of_concept.txt` "object" or "style" (diffusers examples/textual_inversion
and the sd-concepts-library).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tinv_ext.core.atomic import atomic_write
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError
from tinv_ext.core.families import SDXL
from tinv_ext.core.formats.layouts import FileContents
from tinv_ext.core.formats.metadata import metadata_of
from tinv_ext.core.formats.safetensors_file import safetensors_bytes
from tinv_ext.core.messages import message

STEMS = ("learned_embeds", "learned_embeds_2")
SUFFIXES = (".safetensors", ".bin")
_GENERIC_STEM = re.compile(r"learned_embeds(_2)?(-steps-\d+)?")


def is_generic_stem(stem: str) -> bool:
    """Whether diffusers' scripts name their files so: the word is then the key inside."""
    return _GENERIC_STEM.fullmatch(stem) is not None


def read_folder(folder: Path, read: Callable[[Path], FileContents]) -> FileContents:
    """The embedding in such a folder, its files read by `read`; both encoders together for SDXL. Raises FormatError."""
    first, second = (_read_stem(folder, stem, read) for stem in STEMS)
    if first is None:
        raise FormatError(
            message(
                "formats.folder_empty",
                "The folder has no learned_embeds.safetensors or learned_embeds.bin. Give a file, or a folder saved by "
                "diffusers.",
            )
        )
    if second is None:
        return first
    if len(first.embeddings) != 1 or len(second.embeddings) != 1:
        raise FormatError(
            message(
                "formats.folder_several",
                "The folder has several embeddings for two text encoders. Give one of its files and choose an "
                "embedding by name.",
            )
        )
    tensors = [next(iter(contents.embeddings[0].vectors.values())) for contents in (first, second)]
    both = {encoder: tensor for (encoder, _), tensor in zip(SDXL.encoders, tensors)}
    return replace(first, layout="diffusers (SDXL pair)", embeddings=(replace(first.embeddings[0], vectors=both),))


def _read_stem(folder: Path, stem: str, read: Callable[[Path], FileContents]) -> FileContents | None:
    for suffix in SUFFIXES:
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return replace(read(path), named=True)
    return None


def write_folder(embedding: Embedding, folder: Path) -> None:
    """Write `embedding` as such a folder, made if it is missing; a style if its facts or its template say so."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, (_, vectors) in zip(STEMS, embedding.vectors.items()):
        _write(folder / f"{stem}.safetensors", safetensors_bytes({embedding.name: vectors}, metadata_of(embedding)))
    if len(embedding.vectors) == 1:
        (folder / f"{STEMS[1]}.safetensors").unlink(missing_ok=True)
    _write(folder / "token_identifier.txt", embedding.name.encode("utf-8"))
    _write(folder / "type_of_concept.txt", _concept(embedding).encode("ascii"))


def _concept(embedding: Embedding) -> str:
    """What diffusers calls the learnable property: as the facts say, else as the templates of the run were."""
    settings = embedding.facts.get("settings")
    template = str(settings.get("template", "")) if isinstance(settings, dict) else ""
    style = embedding.facts.get("concept", "style" if template.startswith("style") else "object") == "style"
    return "style" if style else "object"


def _write(path: Path, data: bytes) -> None:
    with atomic_write(path) as file:
        file.write(data)
