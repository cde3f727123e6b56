"""The WebUI's embedding database: the words its prompts know.

v1.10.1 modules/textual_inversion/textual_inversion.py: `EmbeddingDatabase` has `word_embeddings` by name and
`ids_lookup` by first token id; an embedding's `vec` is a tensor, for SDXL a dict of two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from modules import devices, sd_hijack
from modules.textual_inversion.textual_inversion import Embedding

from tinv_ext.core.embedding import count_vectors
from tinv_ext.core.model import Vectors, Words
from tinv_ext.hosts.webui import lent_words


def known_vectors() -> dict[str, Vectors]:
    """The vectors of the embeddings that fit the loaded model, by name and encoder."""
    embeddings = _database().word_embeddings
    return {name: item.vec if isinstance(item.vec, dict) else {"": item.vec} for name, item in embeddings.items()}


def reload() -> Collection[str]:
    """Have the WebUI read its embeddings folder again: the names it has accepted."""
    database = _database()
    database.load_textual_inversion_embeddings(force_reload=True)  # unforced, it misses an overwritten file
    names: Collection[str] = database.word_embeddings
    return names


@contextmanager
def registered(words: Words, sd_model: Any) -> Iterator[None]:
    """While open, prompts know `words`, before any embeddings of the same names."""
    database = _database()
    by_name = dict(database.word_embeddings)
    by_id = {first_id: list(entries) for first_id, entries in database.ids_lookup.items()}
    try:
        for name, vectors in words.items():
            database.register_embedding(_embedding(name, vectors), sd_model)
        yield
    finally:
        _refill(database.word_embeddings, by_name)
        _refill(database.ids_lookup, by_id)


def lend(words: Words, sd_model: Any) -> None:
    """Have prompts know `words` until this is called again, also after the folder is read; with none, as before."""
    database = _database()
    made = {name: _embedding(name, vectors) for name, vectors in words.items()}
    lent_words.lend(database, made, lambda embedding: database.register_embedding(embedding, sd_model))


def lent() -> Collection[str]:
    """Those of the lent words that prompts know now."""
    return lent_words.lent_words(_database())


def _refill(mapping: dict[Any, Any], content: Mapping[Any, Any]) -> None:
    mapping.clear()
    mapping.update(content)


def _embedding(name: str, vectors: Vectors) -> Any:
    moved = {key: vector.detach().to(devices.device, torch.float32) for key, vector in vectors.items()}
    embedding = Embedding(moved if len(moved) > 1 else next(iter(moved.values())), name)
    embedding.vectors = count_vectors(moved)
    embedding.shape = sum(vector.shape[1] for vector in moved.values())
    return embedding


def _database() -> Any:
    return sd_hijack.model_hijack.embedding_db
