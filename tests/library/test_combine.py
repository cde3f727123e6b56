"""More vectors for a word, and the mean of several."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.messages import refused
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.preflight.initial_vectors import from_text
from tinv_ext.library.combine import averaged, extended


def embedding(name: str = "word", step: int | None = 5, first: float = 0.0, **widths: int) -> Embedding:
    """Two vectors of numbers that are all different."""
    vectors = {
        key: first + torch.arange(2 * width, dtype=torch.float32).view(2, width)
        for key, width in (widths or {"clip_l": 4}).items()
    }
    return Embedding(name, vectors, step, "0123456789", "model", {"rate": 1})


def test_repeating_is_the_rule_of_initialization_texts(token_table) -> None:  # type: ignore[no-untyped-def]
    """Two tokens over five vectors by `from_text`, and two vectors extended to five, stand in the same order."""
    two, five = (from_text("cat dog", count, token_table).vectors["clip_l"] for count in (2, 5))
    assert torch.equal(extended(Embedding("word", {"clip_l": two}), 5).vectors["clip_l"], five)


def test_zeros_stand_behind_what_was_there() -> None:
    """Both encoders grow alike; what is known of the embedding stays, and how many it had is told."""
    before = embedding(clip_l=3, clip_g=4)
    after = extended(before, 5, "zeros")
    assert after.count == 5
    for key, value in after.vectors.items():
        assert torch.equal(value[:2], before.vectors[key])
        assert not value[2:].any()
    assert (after.name, after.step, after.model_hash) == ("word", 5, "0123456789")
    assert after.facts == {"rate": 1, "extended_from": 2}


@pytest.mark.parametrize("count", [-1, 0, 1, 2, 76])
def test_an_embedding_is_only_made_longer(count: int) -> None:
    """Not shorter, not the same, not longer than a chunk of a prompt."""
    with refused("library.extend_count", has=2, count=count, most=75):
        extended(embedding(), count)


def test_an_unknown_fill_is_refused() -> None:
    """With the known ones in the sentence."""
    with refused("library.unknown_fill", fill="noise", fills=["repeat", "zeros"]):
        extended(embedding(), 3, "noise")


def test_the_mean_weighs_each_as_told() -> None:
    """Half and half without weights; one to three with them; facts and step of the furthest, the parts listed."""
    one, two = embedding("w-5", 5), embedding("w-9", 9, first=8.0)
    assert torch.allclose(averaged([one, two], "w").vectors["clip_l"], one.vectors["clip_l"] + 4)
    mean = averaged([two, one], "w", [1, 3])
    assert torch.allclose(mean.vectors["clip_l"], one.vectors["clip_l"] + 2)
    assert (mean.name, mean.step) == ("w", 9)
    assert mean.facts["averaged"] == [
        {"name": "w-9", "step": 9, "weight": 1},
        {"name": "w-5", "step": 5, "weight": 3},
    ]


def test_the_mean_of_rounded_numbers_is_not_rounded() -> None:
    """Files in fp16 have a mean that is between their numbers."""
    ones = [Embedding("a", {"clip_l": torch.full((1, 8), value)}, precision="fp16") for value in (1.0, 1.0009765625)]
    assert torch.equal(averaged(ones, "mean").vectors["clip_l"], torch.full((1, 8), 1.00048828125))


def test_the_mean_of_one_embedding_with_itself_is_itself() -> None:
    """Bit for bit, for both encoders."""
    one = embedding(clip_l=3, clip_g=4)
    mean = averaged([one, one, one], "word")
    assert all(torch.equal(mean.vectors[key], one.vectors[key]) for key in one.vectors)


@pytest.mark.parametrize(
    ("others", "weights", "problem", "values"),
    [
        ([], [], "average_one", {}),
        (
            [embedding("b", clip_l=5)],
            [],
            "average_shapes",
            {"name": "b", "shape": "2 vectors of clip_l 5", "first": "word", "first_shape": "2 vectors of clip_l 4"},
        ),
        ([extended(embedding("b"), 3)], [], "shape", {"count": 3}),
        ([embedding("b", clip_l=4, clip_g=4)], [], "shape", {"widths": ["clip_l 4", "clip_g 4"]}),
        ([embedding("b")], [1], "average_weights", {"weights": 1, "embeddings": 2}),
        ([embedding("b")], [1, -1], "average_sum", {"weights": ["1", "-1"]}),
        ([embedding("b")], [1e308, 1e308], "average_sum", {"weights": ["1e+308", "1e+308"]}),
        ([embedding("b")], [1, float("nan")], "average_sum", {"weights": ["1", "nan"]}),
    ],
)
def test_what_has_no_mean_is_told(
    others: list[Embedding], weights: list[float], problem: str, values: dict[str, Any]
) -> None:
    """A sentence with the shapes or weights."""
    with refused(f"library.{problem}", **values):
        averaged([embedding(), *others], "w", weights)
