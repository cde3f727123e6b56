"""Where the vectors of a new word start: at the tokens of a text, at zero, or at an existing embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tinv_ext.core.embedding import count_vectors
from tinv_ext.core.errors import FormatError, InputError, NumericError
from tinv_ext.core.fit import unfit
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.messages import message
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
        return count_vectors(self.vectors)


def from_text(text: str, count: int, token_table: TokenTable) -> InitialVectors:
    """Token vectors of `text` stretched over `count` vectors, as AUTOMATIC1111 does; 0 takes one for each token.

    Of a text of T tokens, cut after n tokens, vector i of n is token i·T//n (v1.10.1 `create_embedding`, whose
    tokenizer cuts the text likewise). An empty text gives zeros. `InputError` if there would be too many vectors.
    """
    ids = token_table.tokenizer.ids(text.strip()) if text.strip() else []
    count = count or len(ids) or 1
    if count > MAX_VECTORS:
        raise InputError(
            message(
                "preflight.text_too_long",
                "The initialization text has {tokens} tokens, but a word can have at most {most} vectors. Shorten the "
                "text.",
                tokens=count,
                most=MAX_VECTORS,
            )
        )
    if not ids:
        return from_zero(count, token_table.widths)
    ids = ids[:count]
    return InitialVectors(token_table.token_vectors([ids[index * len(ids) // count] for index in range(count)]))


def from_zero(count: int, widths: Mapping[str, int]) -> InitialVectors:
    """`count` vectors of zeros for text encoders of these widths."""
    return InitialVectors({encoder: torch.zeros(count, width) for encoder, width in widths.items()})


def from_file(path: Path, count: int | None, token_table: TokenTable) -> InitialVectors:
    """Vectors and step of an embedding file; `count`, if given, must be that of the file.

    `InputError` if the file cannot be read or is for another kind of model.
    """
    try:
        embedding = read_embedding(path)
    except (FormatError, InputError, NumericError) as error:
        raise InputError([_unusable(problem) for problem in error.problems]) from error
    except OSError as error:
        raise InputError(_unusable(str(error))) from error
    problem = unfit(embedding, token_table.widths)
    if problem:
        raise InputError(problem)
    if count and count != embedding.count:
        raise InputError(
            message(
                "preflight.other_count",
                '"{path}" has {has:vector|vectors}, not {count}. Set the number of vectors to {has}, or leave it at '
                "its default.",
                path=path,
                has=embedding.count,
                count=count,
            )
        )
    return InitialVectors(embedding.vectors, embedding.step or 0)


def _unusable(reason: str) -> str:
    return message("preflight.unusable_start", "The embedding to start from cannot be used. {reason}", reason=reason)
