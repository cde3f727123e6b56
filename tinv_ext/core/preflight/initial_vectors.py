"""Where the vectors of a new word begin: at the tokens of a text, at zero, or where an existing embedding stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError, InputError, NumericError
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.model import TokenTable
from tinv_ext.core.prompts.reader import MAX_VECTORS


@dataclass(frozen=True)
class InitialVectors:
    """Vectors by encoder, each (n, width) float32, and the step that they count as."""

    vectors: Mapping[str, Tensor]
    step: int = 0

    @property
    def count(self) -> int:
        """How many vectors the word has."""
        return len(next(iter(self.vectors.values())))


def from_text(text: str, count: int, token_table: TokenTable) -> InitialVectors:
    """Token vectors of `text` stretched over `count` vectors, as AUTOMATIC1111 does; 0 takes one for each token.

    Of a text of T tokens, of which no more than n are looked at, vector i of n is token i·T//n (v1.10.1
    `create_embedding`, whose tokenizer cuts the text after n tokens); an empty text gives zeros.
    """
    ids = token_table.tokenizer.ids(text.strip()) if text.strip() else []
    count = count or len(ids) or 1
    if count > MAX_VECTORS:
        raise InputError(
            f"The initialization text has {count} tokens; a word can have {MAX_VECTORS} vectors. Shorten the text."
        )
    if not ids:
        return InitialVectors({encoder: torch.zeros(count, width) for encoder, width in token_table.widths.items()})
    ids = ids[:count]
    chosen = [ids[index * len(ids) // count] for index in range(count)]
    return InitialVectors(token_table.token_vectors(chosen))


def from_file(path: Path, count: int | None, token_table: TokenTable) -> InitialVectors:
    """Vectors and step of an embedding file. `InputError` if it is none, or is for another kind of model."""
    try:
        embedding = read_embedding(path)
    except (FormatError, InputError, NumericError, OSError) as error:
        raise InputError(f"The embedding to start from cannot be used: {error}") from error
    problem = unfit(embedding, token_table.widths)
    if problem:
        raise InputError(problem)
    if count and count != embedding.count:
        raise InputError(
            f'"{path}" has {embedding.count} vectors, not {count}. Leave the number of vectors out, or set it to that.'
        )
    return InitialVectors(embedding.vectors, embedding.step or 0)


def unfit(embedding: Embedding, widths: Mapping[str, int]) -> str:
    """Why an embedding cannot be used with a model of these widths, as a sentence; empty if it can."""
    problem = unfit_widths(embedding.widths, widths)
    return f'The embedding "{embedding.name}" {problem}' if problem else ""


def unfit_widths(has: Mapping[str, int], widths: Mapping[str, int]) -> str:
    """As `unfit`, for widths by encoder; the sentence begins with its verb."""
    if sorted(has.values()) == sorted(widths.values()):
        return ""
    return f"has vectors of width {_said(has)}; the model takes {_said(widths)}. It was made for another kind of model."


def _said(widths: Mapping[str, int]) -> str:
    return " and ".join(f"{width} ({encoder})" for encoder, width in widths.items())
