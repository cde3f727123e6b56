"""Reading what an image carries in its text or its pixels (see `image_write`), bounded like all that is read."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats.bounded_json import parse_json_object
from tinv_ext.core.formats.image_pixels import MAX_PAYLOAD_BYTES, extract_payload, remove_payload, require_size
from tinv_ext.core.formats.layouts import FACTS_KEY
from tinv_ext.core.formats.tensors import MAX_ELEMENTS, StoredTensor
from tinv_ext.core.messages import message

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
"""What Pillow raises for damaged images, some of it from deep inside."""


def is_image(head: bytes) -> bool:
    """Whether a file that begins with `head` is an image that can carry an embedding (a JPEG cannot)."""
    return _image_format(head) is not None


def _image_format(head: bytes) -> str | None:
    if head[4:12] == b"ftypavif":
        return "AVIF"
    if head[:4] == b"RIFF" and head[8:12] != b"WEBP":
        return None
    return IMAGES.get(head[:4])


def read_image_values(path: Path) -> tuple[dict[str, Any], str]:
    """The values in an image and where they were: in the text, or in the pixels if that is missing or damaged."""
    texts, image = open_image(path)
    try:
        if CHUNK in texts:
            return _values_of_text(texts), "text"
        damage = FormatError(
            message(
                "formats.image_without_embedding",
                "The image carries no embedding. It is an ordinary image, or the embedding was lost when it was "
                "converted.",
            )
        )
    except FormatError as error:
        damage = error
    payload = extract_payload(image)
    if payload is None:
        raise damage
    return {**_values(payload), **_own(texts)}, "pixels"


def open_image(path: Path) -> tuple[dict[str, str], Image.Image]:
    """The texts of an image that can carry an embedding, and the image as RGB; FormatError when it is none."""
    with open(path, "rb") as file:
        image_format = _image_format(file.read(16))
        Image.init()
        if image_format not in Image.OPEN:
            raise FormatError(
                message(
                    "formats.image_no_decoder",
                    "Pillow has no decoder for this image here ({format}). Convert the image to PNG.",
                    format=image_format,
                )
            )
        try:
            with Image.open(file, formats=[image_format]) as image:
                require_size(image)
                image.load()
                return dict(getattr(image, "text", {})), image.convert("RGB")
        except IMAGE_ERRORS as error:
            raise FormatError(
                message(
                    "formats.image_damaged",
                    "The image cannot be opened ({error}). The file is truncated or damaged.",
                    error=str(error),
                )
            ) from error


def carries_embedding(path: Path) -> bool:
    """Whether the image `path` is an embedding's file, too, in its text or its pixels."""
    try:
        texts, image = open_image(path)
        return CHUNK in texts or extract_payload(image) is not None
    except FormatError:
        return False


def without_embedding(path: Path) -> tuple[Image.Image, dict[str, str]]:
    """The image without what it carries, and its other texts. FormatError when it is no image that can be read."""
    texts, image = open_image(path)
    try:
        bare = remove_payload(image)
    except FormatError:  # the pixels' copy is damaged, so they are no more than decoration
        bare = image
    return bare, {key: value for key, value in texts.items() if key not in (CHUNK, FACTS_KEY)}


def _values_of_text(texts: Mapping[str, str]) -> dict[str, Any]:
    coded = texts[CHUNK]
    if len(coded) > MAX_PAYLOAD_BYTES * 4 // 3 + 4:
        raise FormatError(
            message(
                "formats.image_text_too_large",
                'The text chunk "{chunk}" has {count} characters, too many for an embedding.',
                chunk=CHUNK,
                count=len(coded),
            )
        )
    try:
        payload = base64.b64decode(coded, validate=True)
    except ValueError as error:
        raise FormatError(
            message(
                "formats.image_text_no_base64", 'The text chunk "{chunk}" is not base64. It is damaged.', chunk=CHUNK
            )
        ) from error
    return {**_values(payload), **_own(texts)}


def _own(texts: Mapping[str, str]) -> dict[str, Any]:
    """Our own text chunk of an SDXL image, as the values that layouts know."""
    if FACTS_KEY not in texts or len(texts[FACTS_KEY]) > MAX_PAYLOAD_BYTES:
        return {}
    what = message("formats.json_image_facts", "The metadata in the image")
    own = parse_json_object(texts[FACTS_KEY].encode("utf-8", "replace"), what)
    names = {
        "name": "name",
        "step": "step",
        "model_hash": "sd_checkpoint",
        "model_name": "sd_checkpoint_name",
        "facts": FACTS_KEY,
    }
    return {names[key]: value for key, value in own.items() if key in names}


def _values(payload: bytes) -> dict[str, Any]:
    what = message("formats.json_image", "The embedding in the image")
    return {key: _with_tensors(value) for key, value in parse_json_object(payload, what).items()}


def _with_tensors(value: object) -> object:
    """Objects that stand for tensors become StoredTensors; they are at the top, or one below in `string_to_param`."""
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
        raise FormatError(
            message("formats.image_tensor", "A tensor in the image is not a table of numbers. The image is damaged.")
        )
    shape = (len(nested), widths.pop())
    if shape[0] * shape[1] > MAX_ELEMENTS:
        raise FormatError(
            message(
                "formats.image_tensor_too_large",
                "A tensor in the image has shape {shape}, too large for an embedding.",
                shape=str(shape),
            )
        )
    return StoredTensor(shape, lambda: _numbers(nested))


def _numbers(rows: list[Any]) -> torch.Tensor:
    try:
        return torch.from_numpy(np.array(rows, dtype=np.float64))
    except OverflowError as error:
        raise FormatError(
            message(
                "formats.image_number",
                "A tensor in the image has a number larger than any float. The image is damaged.",
            )
        ) from error
