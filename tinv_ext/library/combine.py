"""New embeddings out of finished ones: more vectors for the same word, the mean of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.prompts.reader import MAX_VECTORS

__all__ = ["FILLS", "MAX_VECTORS", "averaged", "extended"]

FILLS = ("repeat", "zeros")


def extended(embedding: Embedding, count: int, fill: str = "repeat") -> Embedding:
    """The embedding with `count` vectors, more than it has, to be trained on.

    `repeat`: vector i of m is the old one i·n//m, the rule by which the WebUI stretches an initialization text over
    vectors (v1.10.1 `create_embedding`). `zeros`: the old ones, then zeros. Raises InputError for a count that is no
    more than what it has or more than MAX_VECTORS, and for another fill.
    """
    if fill not in FILLS:
        raise InputError(
            message(
                "library.unknown_fill",
                'New vectors cannot be filled with "{fill}". Choose one of {fills:, }.',
                fill=fill,
                fills=list(FILLS),
            )
        )
    if not embedding.count < count <= MAX_VECTORS:
        raise InputError(
            message(
                "library.extend_count",
                '"{name}" has {has:vector|vectors} and cannot be extended to {count}. Give a larger number, at most '
                "{most}.",
                name=embedding.name,
                has=embedding.count,
                count=count,
                most=MAX_VECTORS,
            )
        )
    vectors = {key: _filled(value, count, fill) for key, value in embedding.vectors.items()}
    return replace(embedding, vectors=vectors, facts={**embedding.facts, "extended_from": embedding.count})


def _filled(vectors: Tensor, count: int, fill: str) -> Tensor:
    if fill == "zeros":
        return torch.cat([vectors, torch.zeros(count - len(vectors), vectors.shape[1])])
    return vectors[[index * len(vectors) // count for index in range(count)]]


def averaged(embeddings: Sequence[Embedding], name: str, weights: Sequence[float] = ()) -> Embedding:
    """The mean of embeddings of one shape, such as the last snapshots of a run; `weights` one number for each.

    It counts as the furthest of them: its step and facts are theirs, with the parts of the mean as the fact
    `averaged`. Raises InputError when there are fewer than two, when shapes differ, or for weights that give no mean.
    """
    problems = _average_problems(embeddings, weights)
    if problems:
        raise InputError(problems)
    shares = list(weights) or [1.0] * len(embeddings)
    whole = math.fsum(shares)
    vectors = {
        key: sum((one.vectors[key].double() * (share / whole) for one, share in zip(embeddings, shares)), _ZERO)
        for key in embeddings[0].vectors
    }
    last = max(embeddings, key=lambda one: one.step or 0)
    parts = [{"name": one.name, "step": one.step, "weight": share} for one, share in zip(embeddings, shares)]
    facts = {**last.facts, "averaged": parts}
    return replace(last, name=name, vectors=vectors, facts=facts, precision="float32")  # more exact than each of them


_ZERO = torch.zeros(())


def _average_problems(embeddings: Sequence[Embedding], weights: Sequence[float]) -> list[str]:
    if len(embeddings) < 2:
        return [message("library.average_one", "An average needs at least two embeddings.")]
    first = embeddings[0]
    problems: list[str] = [
        message(
            "library.average_shapes",
            '"{name}" has {shape}, but "{first}" has {first_shape}. Only embeddings of one shape can be averaged.',
            name=one.name,
            shape=_shape(one),
            first=first.name,
            first_shape=_shape(first),
        )
        for one in embeddings[1:]
        if (one.count, one.widths) != (first.count, first.widths)
    ]
    if weights and len(weights) != len(embeddings):
        problems.append(
            message(
                "library.average_weights",
                "There are {weights:weight|weights} for {embeddings} embeddings. Give one weight for each.",
                weights=len(weights),
                embeddings=len(embeddings),
            )
        )
    elif weights and not 0 < _sum(weights) < math.inf:
        problems.append(
            message(
                "library.average_sum",
                "The weights {weights:, } give no average. Their sum must be above 0 and finite.",
                weights=[f"{weight:g}" for weight in weights],
            )
        )
    return problems


def _sum(weights: Sequence[float]) -> float:
    """The sum of weights; not a number where it or one of them is too large for one."""
    try:
        return math.fsum(weights) if all(math.isfinite(weight) for weight in weights) else math.nan
    except OverflowError:
        return math.nan


def _shape(embedding: Embedding) -> Message:
    return message(
        "library.shape",
        "{count:vector|vectors} of {widths: + }",
        count=embedding.count,
        widths=[f"{encoder} {width}" for encoder, width in embedding.widths.items()],
    )
