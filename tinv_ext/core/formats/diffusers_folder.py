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
from tinv_ext.core.embedding import Embedding, token_of
from tinv_ext.core.errors import FormatError
from tinv_ext.core.families import SDXL
from tinv_ext.core.formats.layouts import FileContents
from tinv_ext.core.formats.metadata import metadata_of
from tinv_ext.core.formats.safetensors_file import safetensors_bytes
from tinv_ext.core.formats.torch_bytes import torch_bytes
from tinv_ext.core.messages import message

STEMS = ("learned_embeds", "learned_embeds_2")
SUFFIXES = (".safetensors", ".bin")
PAIR = "diffusers (SDXL pair)"
_GENERIC_STEM = re.compile(r"learned_embeds(?P<second>_2)?(?P<rest>([-_](steps[-_])?(?P<step>\d+))?([-_][a-z]\w*)?)")


def is_generic_stem(stem: str) -> bool:
    """Whether diffusers' scripts name their files so: the word is then the key inside."""
    return _GENERIC_STEM.fullmatch(stem) is not None


def other_stem(stem: str) -> str | None:
    """What the file with the word's vectors for SDXL's other text encoder is called; None where there can be none."""
    match = _GENERIC_STEM.fullmatch(stem)
    return f"{STEMS[0 if match['second'] else 1]}{match['rest']}" if match else None


def other_half(path: Path) -> Path | None:
    """The file beside `path` that has the word's vectors for SDXL's other text encoder, whichever of the two it is.

    The script's last files, and those on the way: learned_embeds-steps-500 and learned_embeds_2-steps-500.
    """
    stem = other_stem(path.stem)
    if stem is None:
        return None
    others = (path.with_name(stem + suffix) for suffix in (path.suffix, *SUFFIXES))
    return next((other for other in others if other.is_file()), None)


def read_pair(path: Path, other: Path, read: Callable[[Path], FileContents]) -> FileContents | None:
    """What two such files hold together; None where they are not the halves of one SDXL word. Raises FormatError."""
    contents = [read(one) for one in (path, other)]
    if any(len(one.embeddings) != 1 for one in contents):
        return None
    halves = {key: tensor for one in contents for key, tensor in one.embeddings[0].vectors.items()}
    if {key: tensor.shape[1] for key, tensor in halves.items()} != dict(SDXL.encoders):
        return None
    if len({tensor.shape[0] for tensor in halves.values()}) > 1:
        return None
    ordered = {encoder: halves[encoder] for encoder, _ in SDXL.encoders}
    return replace(
        contents[0], layout=PAIR, embeddings=(replace(contents[0].embeddings[0], vectors=ordered),), named=True
    )


def read_folder(folder: Path, read: Callable[[Path], FileContents]) -> FileContents:
    """The embedding in such a folder, its files read by `read`; both encoders together for SDXL. Raises FormatError.

    Where a run of the script has left only files on the way, those of its last step.
    """
    first, second = (_read_stem(folder, stem, read) for stem in (STEMS if _file(folder, STEMS[0]) else _last(folder)))
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
    return replace(first, layout=PAIR, embeddings=(replace(first.embeddings[0], vectors=both),))


def _last(folder: Path) -> tuple[str, str]:
    """The stems of the files that were saved last on the way; the usual ones where there are none."""
    matches = [_GENERIC_STEM.fullmatch(path.stem) for path in folder.iterdir() if path.suffix in SUFFIXES]
    steps = [match for match in matches if match and match["step"] and not match["second"]]
    if not steps:
        return STEMS
    rest = max(steps, key=lambda match: int(match["step"]))["rest"]
    return f"{STEMS[0]}{rest}", f"{STEMS[1]}{rest}"


def _file(folder: Path, stem: str) -> Path | None:
    return next((path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()), None)


def _read_stem(folder: Path, stem: str, read: Callable[[Path], FileContents]) -> FileContents | None:
    path = _file(folder, stem)
    return replace(read(path), named=True) if path else None


def write_folder(embedding: Embedding, folder: Path, suffix: str = ".safetensors") -> None:
    """Write `embedding` as such a folder, made if it is missing; a style if its facts or its template say so.

    `suffix` is one of SUFFIXES. What loaders would take for the embedding's, but was there before, is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = set()
    for stem, vectors in zip(STEMS, embedding.stored().values()):
        tensors = {token_of(embedding): vectors}
        data = torch_bytes(tensors) if suffix == ".bin" else safetensors_bytes(tensors, metadata_of(embedding))
        _write(folder / f"{stem}{suffix}", data)
        written.add(f"{stem}{suffix}")
    for old in {f"{stem}{other}" for stem in STEMS for other in SUFFIXES} - written:
        (folder / old).unlink(missing_ok=True)
    _write(folder / "token_identifier.txt", token_of(embedding).encode("utf-8"))
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
