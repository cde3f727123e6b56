"""Embeddings inside images: in a PNG's text chunk `sd-ti-embedding` and, as a second copy, in the pixels.

Both hold the same JSON (v1.10.1 `image_embedding.py`): a tensor is {"TORCHTENSOR": nested lists}. For SD1 and SD2 it
is the dictionary of the `.pt`; for SDXL it is `clip_l` and `clip_g` and nothing else, because the WebUI takes every
value for a tensor then; what else is known goes into a text chunk of our own.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from tinv_ext.core.atomic import atomic_write
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats.image_pixels import embed_payload
from tinv_ext.core.formats.image_read import CHUNK, TENSOR_KEY
from tinv_ext.core.formats.layouts import FACTS_KEY
from tinv_ext.core.formats.webui import facts_text, webui_values


def image_with_embedding(image: Image.Image, embedding: Embedding) -> Image.Image:
    """`image` as RGB with the embedding in the low bits of two margins; it grows wider, its height stays."""
    payload = json.dumps(image_values(embedding), default=_tensor_as_json).encode("ascii")
    first = next(iter(embedding.vectors.values()))[0, :1024].abs()
    edge = (first / first.max().clamp(min=1e-12) * 255).to(torch.uint8).numpy()
    return embed_payload(image, payload, edge)


def save_png_with_embedding(
    image: Image.Image, embedding: Embedding, path: Path, *, text: Mapping[str, str] | None = None
) -> None:
    """Write `image` as a PNG that carries the embedding twice, and `text` (such as `parameters`) as text chunks."""
    with atomic_write(path) as file:
        write_png(image, embedding, file, text or {})


def write_png(image: Image.Image, embedding: Embedding, file: BinaryIO, text: Mapping[str, str]) -> None:
    """As `save_png_with_embedding`, into an open file."""
    chunks = PngImagePlugin.PngInfo()
    coded = json.dumps(image_values(embedding), default=_tensor_as_json).encode("ascii")
    chunks.add_text(CHUNK, base64.b64encode(coded).decode("ascii"))
    if len(embedding.vectors) > 1:
        chunks.add_text(FACTS_KEY, facts_text(embedding))
    for key, value in text.items():
        chunks.add_text(key, value)
    image_with_embedding(image, embedding).save(file, format="PNG", pnginfo=chunks)


def image_values(embedding: Embedding) -> dict[str, Any]:
    """What goes into the image: the dictionary of the `.pt`, or the two tensors of SDXL alone."""
    return dict(embedding.vectors) if len(embedding.vectors) > 1 else webui_values(embedding, embedding.name)


def _tensor_as_json(value: object) -> dict[str, Any]:
    if isinstance(value, Tensor):
        return {TENSOR_KEY: value.tolist()}
    raise TypeError(f"a {type(value).__name__} has no place in an image's text")
