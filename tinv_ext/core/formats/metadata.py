"""The texts beside the tensors of a safetensors file: ours as JSON under one key, with the standard ones for other
programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.families import FAMILIES
from tinv_ext.core.formats.bounded_json import parse_json_object
from tinv_ext.core.formats.layouts import FACTS_KEY, FileContents
from tinv_ext.core.formats.webui import facts_text
from tinv_ext.core.messages import message

MAX_FOREIGN_CHARACTERS = 10_000
AS_THEY_ARE = ("author", "description", "license", "tags")


def metadata_of(embedding: Embedding) -> dict[str, str]:
    """Facts as JSON under our key, and those of the ModelSpec standard (1.0.1) that are certain."""
    metadata = {
        FACTS_KEY: facts_text(embedding),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": embedding.name,
        "modelspec.trigger_phrase": embedding.name,
    }
    if embedding.family:
        metadata["modelspec.architecture"] = f"{FAMILIES[embedding.family].modelspec}/textual-inversion"
    metadata |= _resolution(embedding.facts.get("settings"))
    known = {key: embedding.facts[key] for key in AS_THEY_ARE if isinstance(embedding.facts.get(key), str)}
    return metadata | {f"modelspec.{key}": value for key, value in known.items()}


def _resolution(settings: object) -> dict[str, str]:
    """The size of the training images, where the facts are those of a run."""
    sizes = [settings.get(key) for key in ("width", "height")] if isinstance(settings, Mapping) else []
    if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
        return {}
    return {"modelspec.resolution": f"{sizes[0]}x{sizes[1]}"}


def with_metadata(contents: FileContents, metadata: Mapping[str, str]) -> FileContents:
    """`contents` with what the texts say about its embedding; nothing for a bundle, where they are about the LoRA.

    Of another program's texts those of reasonable length become facts; the keys of longer ones are listed as left out.
    """
    if contents.named or len(contents.embeddings) != 1:
        return contents
    embedding = contents.embeddings[0]
    if FACTS_KEY in metadata:
        return replace(contents, embeddings=(replace(embedding, **_own(metadata[FACTS_KEY])),))
    texts = {key: value for key, value in metadata.items() if key != "format"}
    facts = {key: value for key, value in texts.items() if len(value) <= MAX_FOREIGN_CHARACTERS}
    left_out = (*embedding.left_out, *(key for key in texts if key not in facts))
    return replace(contents, embeddings=(replace(embedding, facts=facts, left_out=left_out),))


def _own(text: str) -> dict[str, Any]:
    """What `facts_text` wrote, each value only if it is of its type."""
    what = message("formats.json_metadata", "The metadata of the safetensors file")
    own = parse_json_object(text.encode("utf-8", "replace"), what)
    fields = {"label": "name", "step": "step", "model_hash": "model_hash", "model_name": "model_name", "facts": "facts"}
    types = {"label": str, "step": int, "model_hash": str, "model_name": str, "facts": dict}
    return {field: own[key] for field, key in fields.items() if type(own.get(key)) is types[field]}
