"""The list of embeddings and what is known of one, as HTML in which everything that came from files is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tinv_ext.library.folder import LibraryItem
from tinv_ext.library.inspect import lengths, nearest_tokens, rows


def listed(items: Sequence[LibraryItem]) -> str:
    """A table of the folder."""
    if not items:
        return '<div class="tinv-said">There are no embeddings yet.</div>'
    head = "<tr><th>embedding</th><th>model</th><th>vectors</th><th>step</th></tr>"
    return f'<div class="tinv-table"><table>{head}{"".join(map(_row, items))}</table></div>'


def _row(item: LibraryItem) -> str:
    if item.problem:
        return f'<tr class="tinv-out"><td>{escape(item.key)}</td><td colspan="3">{escape(item.problem)}</td></tr>'
    step = "" if item.step is None else item.step
    cells = (item.key, item.family or "another model", item.vectors, step)
    return "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>"


def inspected(said: Mapping[str, Any]) -> str:
    """What `inspection.inspect` found."""
    parts = [f"<p>{escape(said['layout'])}, {escape(said['container'])}</p>"]
    for one in said["embeddings"]:
        facts = "".join(f"<tr><th>{escape(label)}</th><td>{escape(value)}</td></tr>" for label, value in rows(one))
        parts.append(f'<div class="tinv-table"><table>{facts}</table></div>{_vectors(one)}')
    return "".join(parts)


def _vectors(one: Mapping[str, Any]) -> str:
    parts = []
    for key, norms in one["norms"].items():
        near = one.get("nearest", {}).get(key, [[]] * len(norms))
        lines = "".join(
            f"<tr><td>{index + 1}</td><td>{norm:.3f}</td><td>{escape(nearest_tokens(row))}</td></tr>"
            for index, (norm, row) in enumerate(zip(norms, near))
        )
        head = f"<tr><th>{escape(key)}</th><th>{escape(lengths(one, key))}</th><th>nearest words</th></tr>"
        parts.append(f'<div class="tinv-table"><table>{head}{lines}</table></div>')
    return "".join(parts)
