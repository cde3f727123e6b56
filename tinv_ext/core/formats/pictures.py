"""Reading the values that a picture carries, from its text or its pixels (see `png`), bounded like all that is read."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats.json_tables import table_of
from tinv_ext.core.formats.layouts import FACTS_KEY
from tinv_ext.core.formats.pixels import MAX_PAYLOAD_BYTES, MAX_PIXELS, payload_of
from tinv_ext.core.formats.tensors import MAX_ELEMENTS, StoredTensor

CHUNK = "sd-ti-embedding"
TENSOR_KEY = "TORCHTENSOR"
IMAGES = {b"\x89PNG": "PNG", b"RIFF": "WEBP"}
IMAGE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def is_image(head: bytes) -> bool:
    """Whether a file that begins with `head` is a picture that can carry an embedding (a JPEG cannot)."""
    return _image_format(head) is not None


def _image_format(head: bytes) -> str | None:
    if head[4:12] == b"ftypavif":
        return "AVIF"
    if head[:4] == b"RIFF" and head[8:12] != b"WEBP":
        return None
    return IMAGES.get(head[:4])


def image_payload(path: Path) -> tuple[dict[str, Any], str]:
    """The values in a picture and where they were: in the text, or in the pixels if that is missing or damaged."""
    texts, picture = opened(path)
    try:
        if CHUNK in texts:
            return _values_of_text(texts), "text"
        damage = FormatError(
            "The picture carries no embedding: it is an ordinary picture, or its data were lost when it was converted."
        )
    except FormatError as error:
        damage = error
    payload = payload_of(picture)
    if payload is None:
        raise damage
    return {**_values(payload), **_own(texts)}, "pixels"


def opened(path: Path) -> tuple[dict[str, str], Image.Image]:
    """The texts of a picture that can carry an embedding, and the picture as RGB; FormatError when it is none."""
    with open(path, "rb") as file:
        kind = _image_format(file.read(16))
        Image.init()
        if kind not in Image.OPEN:
            raise FormatError(
                f"Pictures of the kind {kind} cannot be opened here: Pillow lacks its decoder, convert the "
                "picture to PNG."
            )
        try:
            with Image.open(file, formats=[kind]) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise FormatError(
                        f"The picture has {picture.width}×{picture.height} pixels: too large to carry an embedding."
                    )
                picture.load()
                return dict(getattr(picture, "text", {})), picture.convert("RGB")
        except IMAGE_ERRORS as error:
            raise FormatError(f"The picture cannot be opened ({error}): the file is cut off or damaged.") from error


def _values_of_text(texts: Mapping[str, str]) -> dict[str, Any]:
    coded = texts[CHUNK]
    if len(coded) > MAX_PAYLOAD_BYTES * 4 // 3 + 4:
        raise FormatError(f"The text chunk '{CHUNK}' has {len(coded)} characters: too large for an embedding.")
    try:
        payload = base64.b64decode(coded, validate=True)
    except ValueError as error:
        raise FormatError(f"The text chunk '{CHUNK}' is not base64: it is damaged.") from error
    return {**_values(payload), **_own(texts)}


def _own(texts: Mapping[str, str]) -> dict[str, Any]:
    """Our own text chunk of an SDXL picture, as the values that layouts know."""
    if FACTS_KEY not in texts or len(texts[FACTS_KEY]) > MAX_PAYLOAD_BYTES:
        return {}
    own = table_of(texts[FACTS_KEY].encode("utf-8", "replace"), "The text with facts")
    names = {
        "name": "name",
        "step": "step",
        "model_hash": "sd_checkpoint",
        "model_name": "sd_checkpoint_name",
        "facts": FACTS_KEY,
    }
    return {names[key]: value for key, value in own.items() if key in names}


def _values(payload: bytes) -> dict[str, Any]:
    return {key: _with_tensors(value) for key, value in table_of(payload, "The embedding in the picture").items()}


def _with_tensors(value: object) -> object:
    """Tables that stand for tensors become StoredTensors; they are at the top, or one below in `string_to_param`."""
    if not isinstance(value, dict):
        return value
    if TENSOR_KEY in value:
        return _stored(value[TENSOR_KEY])
    return {
        key: _stored(item[TENSOR_KEY]) if isinstance(item, dict) and TENSOR_KEY in item else item
        for key, item in value.items()
    }


def _stored(rows: object) -> StoredTensor:
    """Nested lists of numbers, one or two deep, as a tensor."""
    nested: list[Any] = rows if isinstance(rows, list) and rows and isinstance(rows[0], list) else [rows]
    widths = {len(row) if isinstance(row, list) else -1 for row in nested}
    if len(widths) != 1 or -1 in widths or not all(type(item) in (int, float) for row in nested for item in row):
        raise FormatError("A tensor in the picture is not a table of numbers: the picture is damaged.")
    shape = (len(nested), widths.pop())
    if shape[0] * shape[1] > MAX_ELEMENTS:
        raise FormatError(f"A tensor in the picture has the shape {shape}: too large for an embedding.")
    return StoredTensor(shape, lambda: _numbers(nested))


def _numbers(rows: list[Any]) -> torch.Tensor:
    try:
        return torch.from_numpy(np.array(rows, dtype=np.float64))
    except OverflowError as error:
        raise FormatError(
            "A tensor in the picture holds a number beyond every float: the picture is damaged."
        ) from error
