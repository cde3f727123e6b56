"""Vectors beside the vocabulary: the tokens that they were taken from are found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.messages import refused
from tinv_ext.core.prompts.reader import Tokenizer
from tinv_ext.hosts.prompt_vectors import ClipTokenizer
from tinv_ext.library.nearest import nearest


@dataclass(frozen=True)
class RandomLexicon:
    """CLIP's tokens with random vectors, each a little longer than the one before."""

    tokenizer: Tokenizer
    tables: Mapping[str, Tensor]

    @property
    def widths(self) -> dict[str, int]:
        return {key: table.shape[1] for key, table in self.tables.items()}

    def token_vectors(self, ids: Sequence[int]) -> dict[str, Tensor]:
        return {key: table[list(ids)] for key, table in self.tables.items()}


def table(width: int, seed: int) -> Tensor:
    """One row for each of CLIP's tokens, of length 1 to 2."""
    rows = torch.randn(49408, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1) * torch.linspace(1, 2, 49408).unsqueeze(1)


@pytest.fixture(scope="module")
def pair(clip: ClipTokenizer) -> RandomLexicon:
    """Two encoders, as SDXL has them."""
    return RandomLexicon(clip, {"clip_l": table(16, 1), "clip_g": table(24, 2)})


def test_the_nearest_token_is_the_one_it_was_taken_from(pair: RandomLexicon, clip: ClipTokenizer) -> None:
    """In each encoder; with the cosine; words whole, beginnings of words with a dash; lengths of the tokens."""
    ids = [*clip.ids("cat"), *clip.ids("zworble")]
    found = nearest({key: value * 0.3 for key, value in pair.token_vectors(ids).items()}, pair, 3)
    assert list(found) == ["clip_l", "clip_g"]
    for one in found.values():
        assert [len(row) for row in one.tokens] == [3] * len(ids)
        assert one.tokens[0][0][0] == "cat"
        assert one.tokens[1][0][0].endswith("-")
        assert one.tokens[0][0][1] == pytest.approx(1)
        assert one.tokens[0][0][1] > one.tokens[0][1][1] >= one.tokens[0][2][1]
        assert one.norms == pytest.approx((1, 1.5, 2), abs=1e-3)


def test_a_vector_of_zeros_is_near_to_nothing(pair: RandomLexicon) -> None:
    """It has no direction."""
    found = nearest({"clip_l": torch.zeros(1, 16), "clip_g": torch.ones(1, 24)}, pair, 2)
    assert found["clip_l"].tokens == ((),)
    assert len(found["clip_g"].tokens[0]) == 2


def test_start_and_end_are_never_near(pair: RandomLexicon, clip: ClipTokenizer) -> None:
    """They are no words."""
    found = nearest(pair.token_vectors([clip.start, clip.end]), pair, 1)
    assert all("|" not in row[0][0] for one in found.values() for row in one.tokens)


def test_a_single_encoder_is_told_by_its_width(clip: ClipTokenizer) -> None:
    """SD2's file may say clip_h where the model says clip_l; the answer has the file's name."""
    token_table = RandomLexicon(clip, {"clip_l": table(16, 1)})
    found = nearest({"clip_h": token_table.tables["clip_l"][clip.ids("dog")]}, token_table, 1)
    assert found["clip_h"].tokens[0][0][0] == "dog"


def test_another_models_vectors_are_refused(pair: RandomLexicon) -> None:
    """A sentence with both widths."""
    with refused("fit.other_widths", has=["8 (clip_l)"], takes=["16 (clip_l)", "24 (clip_g)"]):
        nearest({"clip_l": torch.ones(1, 8)}, pair, 1)
