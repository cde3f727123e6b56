"""The embedding: a finished value with a name, independent of any file format, device or host."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tinv_ext.core.errors import InputError, NumericError
from tinv_ext.core.families import MAX_CLIP_SKIP, WIDTHS, family_of_widths
from tinv_ext.core.messages import message

MAX_DEPTH = 32
MAX_VALUES = 20_000
MAX_CHARACTERS = 1 << 22
"""Of all texts in the facts together; a text that stands in many places counts each time."""


PRECISIONS: Mapping[str, torch.dtype] = {"float32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""In which the numbers of an embedding's file can be, by kohya's names."""

TOKEN = "token"
"""The fact that holds a name as diffusers' users write it, where that is no file name: "<cat-toy>"."""


def count_vectors(vectors: Mapping[str, Tensor]) -> int:
    """How many vectors a word has, given by encoder: the same number in each."""
    return len(next(iter(vectors.values())))


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors by encoder, with the name that calls them up and what is known about their making.

    `vectors` is {"clip_l": (n, 768)} for SD1, {"clip_h": (n, 1024)} for SD2, {"clip_l": (n, 768), "clip_g": (n, 1280)}
    for SDXL. It is copied on the way in, to float32 on the CPU, so later training steps cannot change a finished value.
    `precision`, one of PRECISIONS, is that of its files: the numbers are rounded to it.
    `model_hash` and `model_name` are those of the base model as the WebUI writes them (`sd_checkpoint`: 10 hex digits).
    `facts` are plain values; tuples become lists. Raises InputError for a wrong shape, NumericError for NaN or
    infinity.
    """

    name: str
    vectors: Mapping[str, Tensor]
    step: int | None = None
    model_hash: str | None = None
    model_name: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "float32"

    def __post_init__(self) -> None:
        problems = _shape_problems(self.name, self.vectors)
        if problems:
            raise InputError(problems)
        vectors = {
            key: self.vectors[key].detach().to("cpu", torch.float32, copy=True).contiguous()
            for key in WIDTHS
            if key in self.vectors
        }
        broken = [key for key, value in vectors.items() if not torch.isfinite(value).all()]
        if broken:
            raise NumericError(
                message(
                    "embedding.not_finite",
                    'The embedding "{name}" has NaN or infinite values ({encoders:, }). It is damaged; do not use it.',
                    name=self.name,
                    encoders=broken,
                )
            )
        rounded = {key: value.to(self.dtype).to(torch.float32) for key, value in vectors.items()}
        if not all(torch.isfinite(value).all() for value in rounded.values()):
            raise NumericError(
                message(
                    "embedding.too_large",
                    'The embedding "{name}" has numbers too large for {precision}. Save it as bf16 or float32.',
                    name=self.name,
                    precision=self.precision,
                )
            )
        object.__setattr__(self, "vectors", rounded)
        object.__setattr__(self, "facts", plain_facts(self.facts))

    @property
    def dtype(self) -> torch.dtype:
        """Of the numbers in its files."""
        return PRECISIONS[self.precision]

    def stored(self) -> dict[str, Tensor]:
        """The vectors by encoder as its files hold them."""
        return {key: value.to(self.dtype) for key, value in self.vectors.items()}

    @property
    def count(self) -> int:
        """How many vectors the word has: the same in every encoder."""
        return count_vectors(self.vectors)

    @property
    def widths(self) -> dict[str, int]:
        """The width of a vector by encoder, such as {"clip_l": 768}."""
        return {key: value.shape[1] for key, value in self.vectors.items()}

    @property
    def family(self) -> str | None:
        """The family's name, such as SDXL; None for another model's, such as the toy's, and for one half of a pair."""
        family = family_of_widths(self.widths)
        return family.name if family else None


def token_of(embedding: Embedding) -> str:
    """The token that calls an embedding up in diffusers: its name, or that in angle brackets where it came so."""
    token = embedding.facts.get(TOKEN)
    return token if isinstance(token, str) and token.strip("<>") == embedding.name else embedding.name


def clip_skip_of(embeddings: Iterable[Embedding]) -> int:
    """The clip skip with which all of them were trained; 0 where they differ, or do not say it."""
    settings = [embedding.facts.get("settings") for embedding in embeddings]
    layers = {own.get("clip_skip") if isinstance(own, Mapping) else None for own in settings}
    (only,) = layers if len(layers) == 1 else (None,)
    return only if type(only) is int and 0 < only <= MAX_CLIP_SKIP else 0


def _shape_problems(name: str, vectors: Mapping[str, Tensor]) -> list[str]:
    if not vectors:
        return [message("embedding.no_vectors", 'The embedding "{name}" has no vectors.', name=name)]
    problems: list[str] = [
        message(
            "embedding.unknown_encoder",
            'The embedding "{name}" names an unknown text encoder, "{encoder}". Known ones are {known:, }.',
            name=name,
            encoder=key,
            known=list(WIDTHS),
        )
        for key in vectors
        if key not in WIDTHS
    ]
    misshapen = {key: tuple(value.shape) for key, value in vectors.items() if value.dim() != 2 or 0 in value.shape}
    for key, shape in misshapen.items():
        problems.append(
            message(
                "embedding.wrong_shape",
                'The vectors of "{name}" for {encoder} have shape {shape}; expected (count, width) with at least 1 '
                "vector.",
                name=name,
                encoder=key,
                shape=str(shape),
            )
        )
    counts = {key: value.shape[0] for key, value in vectors.items() if key not in misshapen}
    if len(set(counts.values())) > 1:
        problems.append(
            message(
                "embedding.unequal_counts",
                'The embedding "{name}" has a different number of vectors for each text encoder ({counts:, }); the '
                "numbers must be equal.",
                name=name,
                counts=[f"{key}: {count}" for key, count in counts.items()],
            )
        )
    return problems


def plain_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `facts` in which all is str, int, float, bool, None, list or dict with text keys, as JSON holds them.

    Raises InputError for anything else (a path, a tensor, NaN), for nesting deeper than MAX_DEPTH and for more than
    MAX_VALUES values or MAX_CHARACTERS of text, which also stops a structure that contains itself.
    """
    budget = [MAX_VALUES, MAX_CHARACTERS]
    copied = _plain(dict(facts), "facts", 0, budget)
    assert isinstance(copied, dict)
    return copied


def _plain(value: Any, where: str, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    budget[1] -= len(value) if isinstance(value, str) else 0
    if depth > MAX_DEPTH or min(budget) < 0:
        raise InputError(
            message(
                "embedding.facts_too_large",
                "The metadata of an embedding is nested too deeply or too large at {where}.",
                where=where,
            )
        )
    if value is None or isinstance(value, (str, bool)):
        return value
    if (type(value) is int and abs(value) < 1 << 63) or (type(value) is float and math.isfinite(value)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where[:160]}[{index}]", depth + 1, budget) for index, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        budget[1] -= sum(len(key) for key in value)
        return {key: _plain(item, f"{where[:160]}.{key[:40]}", depth + 1, budget) for key, item in value.items()}
    raise InputError(
        message(
            "embedding.facts_not_plain",
            "The metadata of an embedding has a {type} at {where}. Only text, finite 64-bit numbers, true/false, "
            "lists, and dictionaries with text keys can be saved.",
            type=type(value).__name__,
            where=where,
        )
    )
