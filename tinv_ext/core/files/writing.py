"""Writing an embedding in the format that each program reads: checked by our own reader before it takes its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.files.atomic import atomic_write
from tinv_ext.core.files.png import write_png
from tinv_ext.core.files.reading import read_embedding
from tinv_ext.core.files.safetensors_file import safetensors_bytes
from tinv_ext.core.files.torch_write import torch_bytes
from tinv_ext.core.files.webui import facts_text, webui_values

Encode = Callable[[Embedding], bytes]

ARCHITECTURES = {("clip_l", 768): "stable-diffusion-v1", ("clip_h", 1024): "stable-diffusion-v2-512"}


def write_embedding(embedding: Embedding, path: Path, *, format: str | None = None) -> None:  # noqa: A002 (the word that users give)
    """Write `embedding` to `path`, all of it or nothing.

    `format` is a key of FORMATS; without it the suffix decides (DEFAULTS). Each file is read back and compared before
    it replaces what was there. Raises InputError when the format cannot hold this embedding, HostError when the disk
    refuses.
    """
    chosen = format or DEFAULTS.get(path.suffix.lower())
    if chosen not in FORMATS:
        raise InputError(
            f"{path.name}: the format '{format or path.suffix}' is not one of {', '.join(FORMATS)}: give one, "
            "or a suffix of "
            f"{', '.join(DEFAULTS)}."
        )
    data = FORMATS[chosen](embedding)
    with atomic_write(path) as file:
        file.write(data)
        file.flush()
        _check(embedding, Path(file.name), path)


def _check(embedding: Embedding, written: Path, target: Path) -> None:
    again = read_embedding(written)
    same = again.vectors.keys() == embedding.vectors.keys() and all(
        torch.equal(again.vectors[key], embedding.vectors[key]) for key in again.vectors
    )
    if not same:
        raise FormatError(
            f"{target} did not hold what was written to it and was not kept: check the disk and its free space."
        )


def _a1111(embedding: Embedding) -> bytes:
    return torch_bytes(webui_values(embedding))


def _kohya(embedding: Embedding) -> bytes:
    return safetensors_bytes({"emb_params": _only_tensor(embedding, "kohya")}, _metadata(embedding))


def _onetrainer(embedding: Embedding) -> bytes:
    return safetensors_bytes({"emp_params": _only_tensor(embedding, "onetrainer")}, _metadata(embedding))


def _pair(embedding: Embedding) -> bytes:
    return safetensors_bytes(embedding.vectors, _metadata(embedding))


def _safetensors(embedding: Embedding) -> bytes:
    """The layout that every program takes: one tensor as `emb_params`, several by their encoder."""
    return _kohya(embedding) if len(embedding.vectors) == 1 else _pair(embedding)


def _diffusers(embedding: Embedding) -> bytes:
    return safetensors_bytes({embedding.name: _only_tensor(embedding, "diffusers")}, _metadata(embedding))


def _diffusers_bin(embedding: Embedding) -> bytes:
    """One tensor under the word, and nothing else: diffusers takes a dictionary of one entry only."""
    return torch_bytes({embedding.name: _only_tensor(embedding, "diffusers-bin")})


def _only_tensor(embedding: Embedding, chosen: str) -> torch.Tensor:
    if len(embedding.vectors) != 1:
        raise InputError(
            f"The embedding '{embedding.name}' is for {len(embedding.vectors)} text encoders (SDXL), the format "
            f"'{chosen}' holds one: "
            "choose 'safetensors' or 'png'."
        )
    return next(iter(embedding.vectors.values()))


def _metadata(embedding: Embedding) -> dict[str, str]:
    """Facts as JSON under our key, and those of the ModelSpec standard (1.0.1) that are certain."""
    metadata = {"tinv": facts_text(embedding), "modelspec.sai_model_spec": "1.0.1", "modelspec.title": embedding.name}
    widths = embedding.widths
    known = (
        "stable-diffusion-xl-v1-base"
        if widths == {"clip_l": 768, "clip_g": 1280}
        else ARCHITECTURES.get(next(iter(widths.items())))
    )
    if known:
        metadata["modelspec.architecture"] = f"{known}/textual-inversion"
    metadata["modelspec.trigger_phrase"] = embedding.name
    return metadata


def _png(embedding: Embedding) -> bytes:
    """A plain picture that carries the embedding, for conversions where there is no preview to put it into."""
    import io

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
DEFAULTS = {".pt": "a1111", ".safetensors": "safetensors", ".bin": "diffusers-bin", ".png": "png"}
