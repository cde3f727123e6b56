"""The list of embeddings and what is known of one, as HTML in which everything that came from files is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tinv_ext.core.messages import message, translated
from tinv_ext.library.folder import LibraryItem
from tinv_ext.library.inspect import lengths, nearest_tokens, rows
from tinv_ext.ui.answers_html import row, sentence, table


def listed(items: Sequence[LibraryItem], language: str) -> str:
    """A table of the folder."""
    if not items:
        return sentence(message("ui.no_embeddings", "There are no embeddings yet."), language)
    heads = (
        message("ui.head_embedding", "embedding"),
        message("ui.head_model", "model"),
        message("ui.head_vectors", "vectors"),
        message("ui.head_step", "step"),
    )
    return table(heads, (_item(item, language) for item in items), language)


def _item(item: LibraryItem, language: str) -> str:
    if item.problem:
        problem = translated(item.problem, language)
        return f'<tr class="tinv-out"><td>{escape(item.key)}</td><td colspan="3">{escape(problem)}</td></tr>'
    family = item.family or translated(message("ui.other_family", "other"), language)
    return row((item.key, family, item.vectors, "" if item.step is None else item.step))


def inspected(described: Mapping[str, Any], language: str) -> str:
    """What `library.inspect.inspect` tells of a file."""
    layout, container = (escape(translated(described[key], language)) for key in ("layout", "container"))
    parts = [f"<p>{layout}, {container}</p>"]
    for embedding in described["embeddings"]:
        facts = (
            f"<tr><th>{escape(translated(label, language))}</th><td>{escape(translated(value, language))}</td></tr>"
            for label, value in rows(embedding)
        )
        parts.append(f'<div class="tinv-table"><table>{"".join(facts)}</table></div>{_vectors(embedding, language)}')
    return "".join(parts)


def _vectors(embedding: Mapping[str, Any], language: str) -> str:
    parts = []
    for encoder, norms in embedding["norms"].items():
        nearest = embedding.get("nearest", {}).get(encoder, [[]] * len(norms))
        heads = (encoder, lengths(embedding, encoder), message("ui.head_nearest", "nearest tokens"))
        lines = (
            row((index + 1, f"{norm:.3f}", nearest_tokens(tokens)))
            for index, (norm, tokens) in enumerate(zip(norms, nearest))
        )
        parts.append(table(heads, lines, language))
    return "".join(parts)
