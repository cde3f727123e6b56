"""How long a token's vector usually is in a model: the scale that steps towards a new word are measured by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinv_ext.core.model import TokenTable

_ORDINARY_WORDS = "a photo of the woman man dog house tree with red and black in on blue"


def typical_lengths(token_table: TokenTable) -> dict[str, float]:
    """The median length of ordinary words' vectors, by encoder: 0.4 for CLIP-L."""
    rows = token_table.token_vectors(token_table.tokenizer.ids(_ORDINARY_WORDS))
    return {encoder: float(vectors.norm(dim=1).median()) for encoder, vectors in rows.items()}


def lengths_of(group: Mapping[str, Any]) -> list[float]:
    """Typical lengths of an optimizer's parameters, kept under "lengths"; of their own vectors where none were given.

    Measured once, before the first step: what is learnt changes it no more.
    """
    if not group["lengths"]:
        own = [float(parameter.detach().norm(dim=-1).mean()) for parameter in group["params"]]
        group["lengths"].extend(length or 1.0 for length in own)
    return list(group["lengths"])
