"""What is to be known of an embedding's file: its format, family, vectors, where they lie, the facts of its run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError, InputError, NumericError
from tinv_ext.core.fit import too_long, unfit
from tinv_ext.core.formats import read_all, read_contents
from tinv_ext.core.messages import Message, message
from tinv_ext.core.model import TokenTable
from tinv_ext.core.printable import printable
from tinv_ext.core.settings import facts_by_current_names
from tinv_ext.library.nearest import nearest


def inspect(path: Path, token_table: TokenTable | None = None, near: int = 5) -> dict[str, Any]:
    """What the file holds, as JSON can say it; with a model's `token_table` also the tokens nearest to each vector.

    Raises InputError in a sentence when the file cannot be read. That the model, or any, cannot use
    it is told under `unfit`.
    """
    try:
        contents, embeddings = read_contents(path), read_all(path)
    except (FormatError, NumericError) as error:
        raise InputError(map(printable, error.problems)) from error
    left_out = {key for stored in contents.embeddings for key in stored.left_out}
    return {
        "file": path.name,
        "container": contents.container or "folder",
        "layout": contents.layout,
        "left_out": sorted(left_out),
        "embeddings": [_described(embedding, token_table, near) for embedding in embeddings.values()],
    }


def _described(embedding: Embedding, token_table: TokenTable | None, near: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": embedding.name,
        "family": embedding.family,
        "vectors": embedding.count,
        "widths": embedding.widths,
        "step": embedding.step,
        "model_name": embedding.model_name,
        "model_hash": embedding.model_hash,
        "facts": facts_by_current_names(embedding.facts),
        "norms": {key: value.norm(dim=1).tolist() for key, value in embedding.vectors.items()},
    }
    problem = unfit(embedding, token_table.widths) if token_table is not None else too_long(embedding)
    if problem:
        return {**described, "unfit": problem}
    if token_table is None:
        return described
    by_encoder = nearest(embedding.vectors, token_table, near)
    return {
        **described,
        "vocabulary": {
            key: dict(zip(("least", "median", "greatest"), result.norms)) for key, result in by_encoder.items()
        },
        "nearest": {
            key: [[{"token": token, "cosine": cosine} for token, cosine in row] for row in result.tokens]
            for key, result in by_encoder.items()
        },
    }


def lines(inspected: Mapping[str, Any]) -> Iterator[str]:
    """The same for people to read, in a terminal."""
    yield f"{inspected['file']}: {inspected['layout']}, {inspected['container']}"
    if inspected["left_out"]:
        left_out = message(
            "library.inspect_left_out", "not part of an embedding: {keys:, }", keys=inspected["left_out"][:10]
        )
        yield f"  {printable(left_out)}"
    for embedding in inspected["embeddings"]:
        yield from (printable(f"  {label:<11} {value}") for label, value in rows(embedding))
        yield from _vectors(embedding)


def rows(embedding: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known of one embedding of `inspect`, as labels with texts."""
    yield message("library.label_name", "name"), embedding["name"]
    family = embedding["family"] or message("library.unknown_family", "an unknown model family")
    widths = [f"{key} {width}" for key, width in embedding["widths"].items()]
    yield (
        message("library.label_family", "family"),
        message("library.family_widths", "{family} ({widths: + })", family=family, widths=widths),
    )
    yield message("library.label_vectors", "vectors"), str(embedding["vectors"])
    if embedding["step"] is not None:
        yield message("library.label_step", "step"), str(embedding["step"])
    if embedding["model_name"] or embedding["model_hash"]:
        base_model = f"{embedding['model_name'] or '?'} [{embedding['model_hash'] or '?'}]"
        yield message("library.label_base_model", "base model"), base_model
    yield from _facts("", embedding["facts"])
    if "unfit" in embedding:
        yield message("library.label_model", "model"), embedding["unfit"]


def _facts(prefix: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        label = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _facts(f"{label}.", value)
        else:
            shown = str(value)
            yield label, shown if len(shown) <= 300 else f"{shown[:300]} …"


def _vectors(embedding: Mapping[str, Any]) -> Iterator[str]:
    for key, norms in embedding["norms"].items():
        yield f"  {key}: {lengths(embedding, key)}"
        near = embedding.get("nearest", {}).get(key, [[]] * len(norms))
        for index, (norm, row) in enumerate(zip(norms, near)):
            yield f"    {index + 1:>2}  {norm:8.3f}  {nearest_tokens(row)}".rstrip()


def lengths(embedding: Mapping[str, Any], key: str) -> Message:
    """The heading over the lengths of an encoder's vectors, with those of the model's tokens if a model was asked."""
    vocabulary = embedding.get("vocabulary", {}).get(key)
    if not vocabulary:
        return message("library.lengths", "length of each vector")
    return message(
        "library.lengths_and_tokens",
        "length of each vector (tokens of the model: {least:.3f} to {greatest:.3f}, median {median:.3f})",
        **vocabulary,
    )


def nearest_tokens(row: Sequence[Mapping[str, Any]]) -> str:
    """The nearest tokens of one vector, each with its cosine."""
    return ", ".join(f"{item['token']} {item['cosine']:.2f}" for item in row)
