"""The text encoders of the loaded model: transformers' CLIPTextModel, one in each of its text processing engines.

backend/text_processing/classic_engine.py, ClassicTextProcessingEngine. It is not called itself: it encodes without
gradients. The layer that it takes is computed here as it computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tinv_ext.hosts.prompt_vectors import ClipTokenizer, ClipTokenTable, TextEncoder

_ENGINES = ("text_processing_engine", "text_processing_engine_l", "text_processing_engine_g")


def text_engines(engine: Any) -> list[Any]:
    """The text processing engines of a model, in the order in which the UNet takes what they encode."""
    return [getattr(engine, name) for name in _ENGINES if getattr(engine, name, None) is not None]


def token_table(engine: Any) -> ClipTokenTable:
    """Tokens and token vectors of the loaded model."""
    texts = text_engines(engine)
    return ClipTokenTable(ClipTokenizer(texts[0].tokenizer), {str(text.embedding_key): _table(text) for text in texts})


def text_encoders(engine: Any, clip_skip: int) -> list[TextEncoder]:
    """The model's text encoders, each with the layer that the program takes for a clip skip."""
    return [_text_encoder(text, clip_skip) for text in text_engines(engine)]


def _text_encoder(text: Any, clip_skip: int) -> TextEncoder:
    transformer = text.text_encoder.transformer
    layer = -max(clip_skip, int(text.minimal_clip_skip))  # so that SDXL's clip skip counts from 3 on

    def encode(ids: Tensor) -> tuple[Tensor, Tensor | None]:
        text.embeddings.fixes = None  # what an encoding that broke off has left there would be put into this one
        output = transformer(ids, output_hidden_states=True)
        states = output.hidden_states[layer]
        if text.final_layer_norm:
            states = transformer.text_model.final_layer_norm(states)
        if not text.return_pooled:
            return states, None
        pooled = output.pooler_output
        return states, transformer.text_projection(pooled) if text.text_projection else pooled

    return TextEncoder(str(text.embedding_key), _table(text), int(text.id_pad), encode)


def _table(text: Any) -> torch.nn.Embedding:
    """Inside CLIPEmbeddingForTextualInversion, which puts the words of finished embeddings in after it."""
    table: torch.nn.Embedding = text.text_encoder.transformer.text_model.embeddings.token_embedding.wrapped
    return table


def tables_of(texts: Sequence[Any]) -> list[torch.nn.Module]:
    """The tables of tokens and positions of these engines."""
    found: list[torch.nn.Module] = []
    for text in texts:
        found += [_table(text), text.text_encoder.transformer.text_model.embeddings.position_embedding]
    return found
