"""Prompts as tensors of fixed shape: everything that the text encoders are given, but for the trained vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tinv_ext.core.prompts.reader import Chunk


@dataclass(frozen=True)
class PromptInputs:
    """B prompts, put together of R chunks that all differ; `order` has which of them, (B·chunks,) int64, unless R is
    B·chunks and they are in order.

    `ids` (R, 77) int64 by encoder, each with its own padding. `slots` (R, 77) int64 tell which vector stands at a
    place: 0 the token's own, k > 0 the k-th row of the trained words' vectors laid end to end, followed by those of
    `others`, (K, width) float32 by encoder, the words that are not trained. `weights` (R, 77) float32 are the emphasis,
    None where there is none. `sizes` (B, 6) float32 are SDXL's size conditioning.
    """

    prompts: int
    ids: Mapping[str, Tensor]
    slots: Tensor
    others: Mapping[str, Tensor]
    weights: Tensor | None
    sizes: Tensor
    order: Tensor | None = None


def distinct(rows: Sequence[Chunk]) -> tuple[list[Chunk], Tensor | None]:
    """Every chunk once, and which of them each row is (None: each is another), so that none is encoded twice."""
    places = {row: place for place, row in enumerate(dict.fromkeys(rows))}
    if len(places) == len(rows):
        return list(rows), None
    return list(places), torch.tensor([places[row] for row in rows])


def repeated(inputs: PromptInputs) -> PromptInputs:
    """The same with every prompt's chunks in rows of its own, so that each can be changed by itself."""
    order = inputs.order
    if order is None:
        return inputs
    weights = None if inputs.weights is None else inputs.weights[order]
    ids = {encoder: rows[order] for encoder, rows in inputs.ids.items()}
    return replace(inputs, ids=ids, slots=inputs.slots[order], weights=weights, order=None)


def padded_ids(rows: Sequence[Chunk], pad: int) -> Tensor:
    """Ids (R, 77) int64 with an encoder's own padding behind the first end: CLIP-L's is the end, OpenCLIP's is 0."""
    return torch.tensor([[*row.ids[: row.used + 2], *[pad] * (len(row.ids) - row.used - 2)] for row in rows])


def word_slots(rows: Sequence[Chunk], counts: Mapping[str, int]) -> Tensor:
    """Slots (R, 77) int64 of `rows`; `counts` has the number of vectors of every word in them, in their order."""
    first, next_slot = {}, 1
    for name, count in counts.items():
        first[name], next_slot = next_slot, next_slot + count
    slots = torch.zeros(len(rows), len(rows[0].ids), dtype=torch.int64)
    for index, row in enumerate(rows):
        for place, name in row.words:
            slots[index, place : place + counts[name]] = torch.arange(first[name], first[name] + counts[name])
    return slots


def emphasis_weights(rows: Sequence[Chunk]) -> Tensor | None:
    """Weights (R, 77) float32, or None where every one is 1."""
    if all(weight == 1.0 for row in rows for weight in row.weights):
        return None
    return torch.tensor([row.weights for row in rows], dtype=torch.float32)
