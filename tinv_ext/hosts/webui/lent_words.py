"""Words that a program's prompts know for a while without a file: they are put back whenever its files are read again.

v1.10.1 modules/textual_inversion/textual_inversion.py and Forge's backend/text_processing/textual_inversion.py:
`EmbeddingDatabase.load_textual_inversion_embeddings` empties `word_embeddings` and `ids_lookup` and reads the folders.
While words are lent, that method of the one object is replaced; with none, the object is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

_LOAD, _LENT = "load_textual_inversion_embeddings", "tinv_lent"
Register = Callable[[Any], Any]


def lend(database: Any, embeddings: Mapping[str, Any], register: Register) -> None:
    """Have `database` know these embeddings by their names, in place of those lent before; none: as if never called.

    A name that a file has stays the file's. What does not fit the loaded model waits for one that it fits. `register`
    puts one into the database.
    """
    lent: dict[str, Any] = vars(database).pop(_LENT, {})
    for name, embedding in lent.items():
        _remove(database, name, embedding)
    lent.clear()  # where another extension has wrapped our method meanwhile, it stays and puts nothing back
    if hasattr(vars(database).get(_LOAD), "is_tinv"):
        delattr(database, _LOAD)
    if embeddings:
        lent = dict(embeddings)
        load = _lending(database, lent, register)
        setattr(database, _LENT, lent)
        setattr(database, _LOAD, load)


def lent_words(database: Any) -> Collection[str]:
    """Those of the lent words that prompts know now."""
    lent = vars(database).get(_LENT, {})
    return [name for name, embedding in lent.items() if database.word_embeddings.get(name) is embedding]


def _lending(database: Any, lent: dict[str, Any], register: Register) -> Any:
    load = getattr(database, _LOAD)

    def put() -> None:
        shape = getattr(database, "expected_shape", -1)
        for name, embedding in lent.items():
            if name not in database.word_embeddings and shape in (-1, embedding.shape):
                register(embedding)

    def load_and_put(*args: Any, **kwargs: Any) -> Any:
        try:
            return load(*args, **kwargs)
        finally:
            put()

    load_and_put.is_tinv = True  # type: ignore[attr-defined]
    put()
    return load_and_put


def _remove(database: Any, name: str, embedding: Any) -> None:
    if database.word_embeddings.get(name) is embedding:
        del database.word_embeddings[name]
    for first_id, entries in list(database.ids_lookup.items()):
        left = [entry for entry in entries if entry[1] is not embedding]
        if not left:
            del database.ids_lookup[first_id]
        elif len(left) < len(entries):
            database.ids_lookup[first_id] = left
