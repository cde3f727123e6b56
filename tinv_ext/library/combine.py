"""New embeddings out of finished ones: more vectors for the same word, the mean of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import InputError

MAX_VECTORS = 75
"""As many as fit one chunk of a prompt."""

FILLS = ("repeat", "zeros")


def extended(embedding: Embedding, count: int, fill: str = "repeat") -> Embedding:
    """The embedding with `count` vectors, more than it has, to be trained on.

    `repeat`: vector i of m is the old one i·n//m, the rule by which the WebUI stretches an initialization text over
    vectors (v1.10.1 `create_embedding`). `zeros`: the old ones, then zeros. Raises InputError for a count that is no
    more than what it has or more than MAX_VECTORS, and for another fill.
    """
    if fill not in FILLS:
        raise InputError(f'New vectors cannot be filled with "{fill}"; choose one of: {", ".join(FILLS)}.')
    if not embedding.count < count <= MAX_VECTORS:
        raise InputError(
            f"'{embedding.name}' has {embedding.count} vectors and cannot be extended to {count}: give more than "
            f"that, at most {MAX_VECTORS}."
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
    return replace(last, name=name, vectors=vectors, facts={**last.facts, "averaged": parts})


_ZERO = torch.zeros(())


def _average_problems(embeddings: Sequence[Embedding], weights: Sequence[float]) -> list[str]:
    if len(embeddings) < 2:
        return ["A mean needs at least two embeddings: give more of them."]
    first = embeddings[0]
    problems = [
        f"'{one.name}' has {_shape(one)} and '{first.name}' {_shape(first)}: only embeddings of one shape have a mean."
        for one in embeddings[1:]
        if (one.count, one.widths) != (first.count, first.widths)
    ]
    if weights and len(weights) != len(embeddings):
        problems.append(f"There are {len(weights)} weights for {len(embeddings)} embeddings: give one for each.")
    elif weights and not (all(math.isfinite(weight) for weight in weights) and math.fsum(weights) > 0):
        problems.append(
            f"The weights {', '.join(f'{weight:g}' for weight in weights)} give no mean: their sum must be above zero."
        )
    return problems


def _shape(embedding: Embedding) -> str:
    widths = " and ".join(f"{key} {width}" for key, width in embedding.widths.items())
    return f"{embedding.count} {'vector' if embedding.count == 1 else 'vectors'} of {widths}"
