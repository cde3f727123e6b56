"""The WebUI's dictionary for an embedding (v1.10.1 `Embedding.save`), and our facts beside it."""

from __future__ import annotations

import json
from typing import Any

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import InputError
from tinv_ext.core.formats.layouts import FACTS_KEY
from tinv_ext.core.messages import message

PLACEHOLDER_TOKEN = 265
"""The token id that the WebUI writes into every file; it means nothing, but InvokeAI looks for the key."""


def webui_values(embedding: Embedding, name: str) -> dict[str, Any]:
    """The dictionary of a `.pt`, for SD1 and SD2; facts of the run go under one more key, which no loader minds.

    `name` is the word of those who go by it: the WebUI in images, diffusers in a `.pt`.
    """
    if len(embedding.vectors) != 1:
        raise InputError(
            message(
                "formats.webui_several_encoders",
                'The embedding "{name}" is for {count} text encoders (SDXL), which the WebUI reads only from '
                ".safetensors and .png. Choose one of these.",
                name=embedding.name,
                count=len(embedding.vectors),
            )
        )
    values: dict[str, Any] = {
        "string_to_token": {"*": PLACEHOLDER_TOKEN},
        "string_to_param": {"*": next(iter(embedding.stored().values()))},
        "name": name,
        "step": embedding.step,
        "sd_checkpoint": embedding.model_hash,
        "sd_checkpoint_name": embedding.model_name,
    }
    if embedding.facts:
        values[FACTS_KEY] = dict(embedding.facts)
    return values


def facts_text(embedding: Embedding) -> str:
    """Everything but the tensors as JSON, for formats that hold texts beside them."""
    own = {
        "name": embedding.name,
        "step": embedding.step,
        "model_hash": embedding.model_hash,
        "model_name": embedding.model_name,
        "facts": dict(embedding.facts),
    }
    return json.dumps(own, ensure_ascii=True, allow_nan=False)
