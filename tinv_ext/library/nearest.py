"""Vectors beside a model's vocabulary: how long they are against its tokens', and which tokens they are nearest to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tinv_ext.core.errors import InputError
from tinv_ext.core.fit import unfit_widths
from tinv_ext.core.model import TokenTable

_SLICE = 4096  # tokens looked at together: the tables of SDXL are 400 MB and are never copied as a whole


@dataclass(frozen=True)
class NearestTokens:
    """Of one encoder: for each vector its nearest tokens with their cosines, best first; lengths of the tokens'
    vectors: least, median, greatest."""

    tokens: tuple[tuple[tuple[str, float], ...], ...]
    norms: tuple[float, float, float]


@torch.no_grad()
def nearest(vectors: Mapping[str, Tensor], token_table: TokenTable, count: int = 5) -> dict[str, NearestTokens]:
    """What each encoder's vectors (n, width) are near to, `count` tokens for each vector, by the angle between.

    A vector of zeros is near to nothing. The tokens that begin and end a text are left out. Raises InputError when the
    vectors are for another kind of model.
    """
    problem = unfit_widths({key: value.shape[1] for key, value in vectors.items()}, token_table.widths)
    if problem:
        raise InputError(problem)
    skipped = {token_table.tokenizer.start, token_table.tokenizer.end}
    ids = [token for token in range(token_table.tokenizer.end) if token not in skipped]
    names = _names(vectors, token_table.widths)
    searches = {encoder: _Search(vectors[name], count) for encoder, name in names.items()}
    for begin in range(0, len(ids), _SLICE):
        some = ids[begin : begin + _SLICE]
        for encoder, rows in token_table.token_vectors(some).items():
            searches[encoder].add(rows.float().cpu(), torch.tensor(some))
    return {names[encoder]: search.result(token_table) for encoder, search in searches.items()}


def _names(vectors: Mapping[str, Tensor], widths: Mapping[str, int]) -> dict[str, str]:
    """The file's name of each encoder by the model's: a single one may be called otherwise, its width tells."""
    if set(vectors) == set(widths):
        return {key: key for key in widths}
    return dict(zip(sorted(widths, key=widths.__getitem__), sorted(vectors, key=lambda key: vectors[key].shape[1])))


class _Search:
    """The best tokens so far of one encoder."""

    def __init__(self, vectors: Tensor, count: int) -> None:
        self._directions = torch.nn.functional.normalize(vectors.float().cpu(), dim=1)
        self._count = count
        self._cosines = torch.zeros(len(vectors), 0)
        self._ids = torch.zeros(len(vectors), 0, dtype=torch.long)
        self._norms: list[Tensor] = []

    def add(self, rows: Tensor, ids: Tensor) -> None:
        norms = rows.norm(dim=1)
        self._norms.append(norms)
        cosines = torch.cat([self._cosines, self._directions @ (rows / norms.clamp(min=1e-12).unsqueeze(1)).T], 1)
        candidates = torch.cat([self._ids, ids.expand(len(self._directions), -1)], 1)
        self._cosines, best = cosines.topk(min(self._count, cosines.shape[1]), dim=1)
        self._ids = candidates.gather(1, best)

    def result(self, token_table: TokenTable) -> NearestTokens:
        norms = torch.cat(self._norms)
        tokens = [
            tuple(zip(map(_readable, token_table.tokenizer.spellings(ids.tolist())), map(float, cosines)))
            if direction.any()
            else ()
            for direction, ids, cosines in zip(self._directions, self._ids, self._cosines)
        ]
        return NearestTokens(tuple(tokens), (float(norms.min()), float(norms.median()), float(norms.max())))


def _readable(spelling: str) -> str:
    """CLIP's `cat</w>` is the word "cat", its `cat` the beginning of a longer one: "cat-"."""
    return spelling.removesuffix("</w>") if spelling.endswith("</w>") else f"{spelling}-"
