"""The embedding as a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.messages import refused
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import NumericError
from tinv_ext.core.families import encoder_of_width


def test_a_finished_value_does_not_follow_later_training() -> None:
    """The vectors are copied: changing the trained tensor afterwards leaves the embedding as it was."""
    trained = torch.nn.Parameter(torch.ones(2, 64))
    embedding = Embedding("word", {"clip_l": trained})
    trained.data.fill_(5)
    assert torch.equal(embedding.vectors["clip_l"], torch.ones(2, 64))
    assert not embedding.vectors["clip_l"].requires_grad


def test_vectors_become_contiguous_float32() -> None:
    """Whatever type and stride come in, float32 in order comes out."""
    vectors = Embedding("word", {"clip_l": torch.ones(64, 3, dtype=torch.float16).t()}).vectors["clip_l"]
    assert (vectors.dtype, vectors.is_contiguous(), tuple(vectors.shape)) == (torch.float32, True, (3, 64))


def test_count_and_widths_tell_the_shape() -> None:
    """`count` is the number of vectors, `widths` the width by encoder."""
    embedding = Embedding("xl", {"clip_g": torch.ones(3, 1280), "clip_l": torch.ones(3, 768)})
    assert embedding.count == 3
    assert embedding.widths == {"clip_l": 768, "clip_g": 1280}


@pytest.mark.parametrize(
    "vectors, problem, values",
    [
        ({}, "no_vectors", {}),
        ({"clip_l": torch.ones(64)}, "wrong_shape", {"shape": "(64,)"}),
        ({"clip_l": torch.ones(0, 64)}, "wrong_shape", {"shape": "(0, 64)"}),
        (
            {"clip_l": torch.ones(2, 768), "clip_g": torch.ones(3, 1280)},
            "unequal_counts",
            {"counts": ["clip_l: 2", "clip_g: 3"]},
        ),
        ({"bert": torch.ones(2, 768)}, "unknown_encoder", {"encoder": "bert"}),
    ],
)
def test_wrong_shapes_are_refused_in_a_sentence(
    vectors: dict[str, torch.Tensor], problem: str, values: dict[str, Any]
) -> None:
    """No vectors, a wrong number of dimensions, unequal counts, unknown encoders."""
    with refused(f"embedding.{problem}", name="word", **values):
        Embedding("word", vectors)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_must_be_finite(value: float) -> None:
    """NaN and infinity never become an embedding."""
    with refused("embedding.not_finite", NumericError, name="word", encoders=["clip_l"]):
        Embedding("word", {"clip_l": torch.full((1, 64), value)})


def _endless() -> dict[str, Any]:
    facts: dict[str, Any] = {}
    facts["again"] = facts
    return facts


@pytest.mark.parametrize(
    "facts, problem",
    [
        ({"a": Path()}, "facts_not_plain"),
        ({"a": float("nan")}, "facts_not_plain"),
        ({"a": {1: 2}}, "facts_not_plain"),
        ({"a": torch.ones(1)}, "facts_not_plain"),
        (_endless(), "facts_too_large"),
    ],
)
def test_facts_must_be_plain(facts: dict[str, Any], problem: str) -> None:
    """Only what every file format can hold is taken as a fact."""
    with refused(f"embedding.{problem}"):
        Embedding("word", {"clip_l": torch.ones(1, 64)}, facts=facts)


def test_tuples_in_facts_become_lists() -> None:
    """Facts are as JSON gives them back, so a file read again compares equal."""
    assert Embedding("word", {"clip_l": torch.ones(1, 64)}, facts={"a": (1, "b")}).facts == {"a": [1, "b"]}


@pytest.mark.parametrize("width, encoder", [(768, "clip_l"), (1024, "clip_h"), (1280, "clip_g"), (96, "clip_l")])
def test_a_single_tensor_is_for_the_encoder_of_its_width(width: int, encoder: str) -> None:
    """768 is SD1, 1024 is SD2, 1280 alone is SDXL's second; the toy's widths count as SD1."""
    assert encoder_of_width(width) == encoder
