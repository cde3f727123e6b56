"""The texts beside the tensors of a safetensors file: ours as JSON under one key, with the standard ones for other
programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.families import FAMILIES
from tinv_ext.core.formats.bounded_json import parse_json_object
from tinv_ext.core.formats.layouts import FACTS_KEY, FileContents
from tinv_ext.core.formats.tensors import bytes_of
from tinv_ext.core.formats.webui import facts_text
from tinv_ext.core.messages import message

MAX_FOREIGN_CHARACTERS = 10_000
AUTHORSHIP = ("title", "author", "description", "license", "tags", "usage_hint")
"""Facts that people give, with the standard's names."""
PREDICTION = "prediction"
"""The fact that holds what the base model's UNet answers: "epsilon" or "v_prediction"."""

_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}
_IMPLEMENTATION = "https://github.com/Stability-AI/generative-models"  # of an embedding's base models, as kohya has it


def metadata_of(embedding: Embedding) -> dict[str, str]:
    """Facts as JSON under our key, and those of the ModelSpec standard (1.0.1) that are certain.

    Written as kohya does (sd-scripts 48d368f, library/sai_model_spec.py), and the hash as the standard says: of all
    bytes behind the header.
    """
    facts = embedding.facts
    known = {key: facts[key] for key in (*AUTHORSHIP, "date") if isinstance(facts.get(key), str)}
    metadata = {
        "sai_model_spec": "1.0.1",
        "implementation": _IMPLEMENTATION,
        "title": embedding.name,
        "trigger_phrase": embedding.name,
        **_of_the_model(embedding),
        **_of_the_run(facts),
        **known,
        "hash_sha256": f"0x{sha256(b''.join(map(bytes_of, embedding.stored().values()))).hexdigest()}",
    }
    return {FACTS_KEY: facts_text(embedding), **{f"modelspec.{key}": value for key, value in metadata.items()}}


def _of_the_model(embedding: Embedding) -> dict[str, str]:
    """What kind of model it is for."""
    family = FAMILIES[embedding.family] if embedding.family else None
    prediction = embedding.facts.get(PREDICTION)
    if prediction not in _PREDICTIONS:
        return {"architecture": f"{family.modelspec}/textual-inversion"} if family else {}
    named = (family.modelspec_v if prediction == "v_prediction" else None) or family.modelspec if family else None
    architecture = {"architecture": f"{named}/textual-inversion"} if named else {}
    return {**architecture, "prediction_type": _PREDICTIONS[prediction]}


def _of_the_run(facts: Mapping[str, Any]) -> dict[str, str]:
    """What made it, the size of the training images and the layer of the text encoder, where the facts say."""
    made_by, settings = facts.get("made_by"), facts.get("settings")
    found = {"implementation_version": made_by.replace(" ", "/")} if isinstance(made_by, str) else {}
    if not isinstance(settings, Mapping):
        return found
    width, height, clip_skip = (settings.get(key) for key in ("width", "height", "clip_skip"))
    if all(isinstance(size, int) and size > 0 for size in (width, height)):
        found["resolution"] = f"{width}x{height}"
    if isinstance(clip_skip, int) and clip_skip > 1:
        found["encoder_layer"] = str(clip_skip)
    return found


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
