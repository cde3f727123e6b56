"""The embedding: a finished value with a name, independent of any file format, device or host."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tinv_ext.core.errors import InputError, NumericError

ENCODER_OF_WIDTH: Mapping[int, str] = {768: "clip_l", 1024: "clip_h", 1280: "clip_g"}
"""Which text encoder an embedding of one tensor is for; any other width (our toy's) counts as clip_l."""

ENCODERS = ("clip_l", "clip_g", "clip_h")
FAMILIES: Mapping[tuple[tuple[str, int], ...], str] = {
    (("clip_l", 768),): "SD1",
    (("clip_h", 1024),): "SD2",
    (("clip_l", 768), ("clip_g", 1280)): "SDXL",
}
"""Which models an embedding is for, by the encoders and widths of its vectors, in the order of ENCODERS."""
MAX_DEPTH = 32
MAX_VALUES = 20_000
MAX_CHARACTERS = 1 << 22
"""Of all texts in the facts together; a text that stands in many places counts each time."""


def encoder_of_width(width: int) -> str:
    """The encoder that an embedding of this width belongs to when its file does not say: SD1, SD2 or the toy."""
    return ENCODER_OF_WIDTH.get(width, "clip_l")


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors by encoder, with the name that calls them up and what is known about their making.

    `vectors` is {"clip_l": (n, 768)} for SD1, {"clip_h": (n, 1024)} for SD2, {"clip_l": (n, 768), "clip_g": (n, 1280)}
    for SDXL. It is copied on the way in, to float32 on the CPU, so later training steps cannot change a finished value.
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

    def __post_init__(self) -> None:
        problems = _shape_problems(self.name, self.vectors)
        if problems:
            raise InputError(problems)
        vectors = {
            key: self.vectors[key].detach().to("cpu", torch.float32, copy=True).contiguous()
            for key in ENCODERS
            if key in self.vectors
        }
        broken = [key for key, value in vectors.items() if not torch.isfinite(value).all()]
        if broken:
            raise NumericError(
                f"The embedding '{self.name}' holds NaN or infinite numbers ({', '.join(broken)}): it is "
                "damaged and must not be used."
            )
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "facts", plain_facts(self.facts))

    @property
    def count(self) -> int:
        """How many vectors the word has: the same in every encoder."""
        return next(iter(self.vectors.values())).shape[0]

    @property
    def widths(self) -> dict[str, int]:
        """The width of a vector by encoder, such as {"clip_l": 768}."""
        return {key: value.shape[1] for key, value in self.vectors.items()}

    @property
    def family(self) -> str | None:
        """SD1, SD2 or SDXL; None for another model's, such as the toy's, and for one half of a pair."""
        return FAMILIES.get(tuple(self.widths.items()))


def _shape_problems(name: str, vectors: Mapping[str, Tensor]) -> list[str]:
    if not vectors:
        return [f"The embedding '{name}' has no vectors for any text encoder: give at least one tensor."]
    problems = [
        f"The embedding '{name}' names the text encoder '{key}', which is not known: use one of {', '.join(ENCODERS)}."
        for key in vectors
        if key not in ENCODERS
    ]
    flat = {key: tuple(value.shape) for key, value in vectors.items() if value.dim() != 2 or 0 in value.shape}
    for key, shape in flat.items():
        problems.append(
            f"The vectors of '{name}' for {key} have the shape {shape}: expected (count, width) with at least "
            "one vector."
        )
    counts = {key: value.shape[0] for key, value in vectors.items() if key not in flat}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{key}: {count}" for key, count in counts.items())
        problems.append(f"The embedding '{name}' has different numbers of vectors ({listed}): they must be equal.")
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
        raise InputError(f"The facts of an embedding are nested or repeated too much at {where}: keep them small.")
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
        f"The facts of an embedding hold a {type(value).__name__} at {where}: every file format can hold only "
        "text, finite numbers of 64 bits, true/false, lists, and dictionaries with text keys."
    )
