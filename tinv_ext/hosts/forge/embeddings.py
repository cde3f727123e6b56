"""The words that the loaded model's prompts know: a database in each text engine, filled when the model is loaded.

backend/text_processing/textual_inversion.py, EmbeddingDatabase: `word_embeddings` by name, `ids_lookup` by first token.
The program's refresh buttons read other databases, for its cards and its API; these here only `reload` reads again.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from backend.text_processing.textual_inversion import Embedding

from tinv_ext.core.embedding import count_vectors
from tinv_ext.core.model import Vectors, Words
from tinv_ext.hosts.forge.encoders import text_engines
from tinv_ext.hosts.webui import lent_words


def known_vectors(engine: Any) -> dict[str, Vectors]:
    """The vectors of the embeddings that fit the loaded model, by name and encoder."""
    (first, *_) = _databases(engine)
    embeddings = first.word_embeddings
    return {name: item.vec if isinstance(item.vec, dict) else {"": item.vec} for name, item in embeddings.items()}


def reload(engine: Any) -> Collection[str]:
    """Read the embeddings folder again, for prompts and for the cards: the names that were accepted."""
    for database in _databases(engine):
        database.load_textual_inversion_embeddings()
    cards = sys.modules.get("modules.ui_extra_networks_textual_inversion")
    if cards is not None:
        cards.embedding_db.load_textual_inversion_embeddings(force_reload=True, sync_with_sd_model=False)
    accepted: Collection[str] = set(known_vectors(engine))
    return accepted


@contextmanager
def registered(words: Words, engine: Any) -> Iterator[None]:
    """While open, prompts know `words`, before any embeddings of the same names."""
    before = [
        (one, dict(one.word_embeddings), {first_id: list(entries) for first_id, entries in one.ids_lookup.items()})
        for one in _databases(engine)
    ]
    try:
        for database, _, _ in before:
            for name, vectors in words.items():
                database.register_embedding(_embedding(name, vectors))
        yield
    finally:
        for database, by_name, by_id in before:
            for content, now in ((by_name, database.word_embeddings), (by_id, database.ids_lookup)):
                now.clear()
                now.update(content)


def lend(words: Words, engine: Any) -> None:
    """Have prompts know `words` until this is called again, also after the folder is read; with none, as before."""
    for database in _databases(engine):
        made = {name: _embedding(name, vectors) for name, vectors in words.items()}
        lent_words.lend(database, made, database.register_embedding)


def lent(engine: Any) -> Collection[str]:
    """Those of the lent words that prompts know now."""
    (first, *_) = _databases(engine)
    return lent_words.lent_words(first)


def _embedding(name: str, vectors: Vectors) -> Any:
    moved = {key: vector.detach().to("cpu", torch.float32) for key, vector in vectors.items()}
    embedding = Embedding(moved if len(moved) > 1 else next(iter(moved.values())), name)
    embedding.vectors = count_vectors(moved)
    embedding.shape = sum(vector.shape[1] for vector in moved.values())
    return embedding


def _databases(engine: Any) -> list[Any]:
    return [text.embeddings for text in text_engines(engine)]
