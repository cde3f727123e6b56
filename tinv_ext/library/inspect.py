"""What is to be known of an embedding's file: its format, family, vectors, where they lie, the facts of its run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError, InputError, NumericError
from tinv_ext.core.formats import read_all, read_contents
from tinv_ext.core.model import TokenTable
from tinv_ext.core.preflight.initial_vectors import unfit
from tinv_ext.library.nearest import nearest


def printable(text: str) -> str:
    """What came out of a file, without the characters by which it could steer a terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


def inspect(path: Path, token_table: TokenTable | None = None, near: int = 5) -> dict[str, Any]:
    """What the file holds, as JSON can say it; with a model's `token_table` also the tokens nearest to each vector.

    Raises InputError in a sentence when the file cannot be read. A model that does not fit is told under `unfit`.
    """
    try:
        contents, embeddings = read_contents(path), read_all(path)
    except (FormatError, NumericError) as error:
        raise InputError(printable(str(error))) from error
    left_out = {key for found in contents.embeddings for key in found.left_out}
    return {
        "file": path.name,
        "container": contents.container or "folder",
        "layout": contents.layout,
        "left_out": sorted(left_out),
        "embeddings": [_said(embedding, token_table, near) for embedding in embeddings.values()],
    }


def _said(embedding: Embedding, token_table: TokenTable | None, near: int) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": embedding.name,
        "family": embedding.family,
        "vectors": embedding.count,
        "widths": embedding.widths,
        "step": embedding.step,
        "model_name": embedding.model_name,
        "model_hash": embedding.model_hash,
        "facts": dict(embedding.facts),
        "norms": {key: value.norm(dim=1).tolist() for key, value in embedding.vectors.items()},
    }
    if token_table is None:
        return said
    problem = unfit(embedding, token_table.widths)
    if problem:
        return {**said, "unfit": problem}
    found = nearest(embedding.vectors, token_table, near)
    return {
        **said,
        "vocabulary": {key: dict(zip(("least", "median", "greatest"), one.norms)) for key, one in found.items()},
        "nearest": {
            key: [[{"token": token, "cosine": cosine} for token, cosine in row] for row in one.tokens]
            for key, one in found.items()
        },
    }


def lines(said: Mapping[str, Any]) -> Iterator[str]:
    """The same for people to read, in a terminal."""
    yield f"{said['file']}: {said['layout']}, {said['container']}"
    if said["left_out"]:
        yield printable(f"  not an embedding's: {', '.join(said['left_out'][:10])}")
    for one in said["embeddings"]:
        yield from (printable(f"  {label:<11} {value}") for label, value in rows(one))
        yield from _vectors(one)


def rows(one: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known of one embedding of `inspect`, as labels with texts."""
    widths = " + ".join(f"{key} {width}" for key, width in one["widths"].items())
    yield "word", one["name"]
    yield "family", f"{one['family'] or 'another model'} ({widths})"
    yield "vectors", str(one["vectors"])
    if one["step"] is not None:
        yield "step", str(one["step"])
    if one["model_name"] or one["model_hash"]:
        yield "base model", f"{one['model_name'] or '?'} [{one['model_hash'] or '?'}]"
    yield from _facts("", one["facts"])
    if "unfit" in one:
        yield "model", one["unfit"]


def _facts(before: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        label = f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _facts(f"{label}.", value)
        else:
            shown = str(value)
            yield label, shown if len(shown) <= 300 else f"{shown[:300]} …"


def _vectors(one: Mapping[str, Any]) -> Iterator[str]:
    for key, norms in one["norms"].items():
        yield f"  {key}: length of each vector{spread(one, key)}"
        near = one.get("nearest", {}).get(key, [[]] * len(norms))
        for index, (norm, row) in enumerate(zip(norms, near)):
            yield f"    {index + 1:>2}  {norm:8.3f}  {words(row)}".rstrip()


def spread(one: Mapping[str, Any], key: str) -> str:
    """How long the vectors of the model's tokens are, if a model was asked."""
    told = one.get("vocabulary", {}).get(key)
    if not told:
        return ""
    return f"; tokens of the model {told['least']:.3f} … {told['median']:.3f} … {told['greatest']:.3f}"


def words(row: Sequence[Mapping[str, Any]]) -> str:
    """The nearest tokens of one vector."""
    return ", ".join(f"{item['token']} {item['cosine']:.2f}" for item in row)
