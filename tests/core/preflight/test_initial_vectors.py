"""Where a new word begins: the WebUI's stretching of a text, zeros, or an embedding with its step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import SmallTokenTable
from tests.messages import refused
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats import write_embedding
from tinv_ext.core.preflight.initial_vectors import from_file, from_text

FIVE = "a photo of a cat"


def tokens(token_table: SmallTokenTable, text: str, count: int) -> list[int]:
    """Which token each vector is: the small lexicon's vectors begin with the token's id."""
    vectors = from_text(text, count, token_table).vectors["clip_l"]
    assert vectors.dtype == torch.float32
    assert vectors.shape[1] == 4
    return [int(value) for value in vectors[:, 0]]


def test_a_text_is_stretched_over_its_vectors(token_table: SmallTokenTable) -> None:
    """Vector i of n is token i·T//n, of T = 5 tokens."""
    ids = token_table.tokenizer.ids(FIVE)
    assert len(ids) == 5
    for count in (5, 6, 7, 12, 75):
        assert tokens(token_table, FIVE, count) == [ids[index * 5 // count] for index in range(count)]


def test_tokens_beyond_the_vectors_are_not_looked_at(token_table: SmallTokenTable) -> None:
    """As in the WebUI, whose tokenizer cuts the text after n tokens (measured with transformers 4.30.2 and 5)."""
    ids = token_table.tokenizer.ids(FIVE)
    assert [tokens(token_table, FIVE, count) for count in (1, 2, 4)] == [ids[:1], ids[:2], ids[:4]]


def test_zero_vectors_means_one_for_each_token(token_table: SmallTokenTable) -> None:
    """At most 75; a longer text is refused with its length."""
    assert tokens(token_table, f"  {FIVE} ", 0) == token_table.tokenizer.ids(FIVE)
    assert from_text("cat " * 75, 0, token_table).count == 75
    with refused("preflight.text_too_long", tokens=76, most=75):
        from_text("cat " * 76, 0, token_table)


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_text_gives_zeros(token_table: SmallTokenTable, text: str) -> None:
    """As many as asked for, one at least."""
    for count, expected in ((0, 1), (1, 1), (3, 3)):
        vectors = from_text(text, count, token_table).vectors["clip_l"]
        assert torch.equal(vectors, torch.zeros(expected, 4))


def test_both_encoders_begin_alike(token_table: SmallTokenTable) -> None:
    """Two widths: the same tokens in each."""
    double = SmallTokenTable(token_table.tokenizer, {"clip_l": 4, "clip_g": 6})
    found = from_text("cat dog", 4, double)
    assert {name: tuple(value.shape) for name, value in found.vectors.items()} == {"clip_l": (4, 4), "clip_g": (4, 6)}
    assert torch.equal(found.vectors["clip_l"][:, 0], found.vectors["clip_g"][:, 0])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An embedding of three vectors that was trained for 70 steps."""
    path = tmp_path / "old.pt"
    write_embedding(Embedding("old", {"clip_l": torch.arange(12.0).view(3, 4)}, step=70), path)
    return path


def test_an_embedding_goes_on_with_its_step(token_table: SmallTokenTable, file: Path) -> None:
    """Its vectors bit for bit, whether or not their number is said."""
    for count in (None, 3):
        found = from_file(file, count, token_table)
        assert torch.equal(found.vectors["clip_l"], torch.arange(12.0).view(3, 4))
        assert (found.step, found.count) == (70, 3)


def test_an_embedding_that_does_not_fit_is_told(token_table: SmallTokenTable, file: Path, tmp_path: Path) -> None:
    """Another number of vectors or width, too many of them, no embedding at all, no file, numbers that are none."""
    with refused("preflight.other_count", has=3, count=5):
        from_file(file, 5, token_table)
    with refused("fit.other_model", name="old", has=["4 (clip_l)"], takes=["768 (clip_l)"]):
        from_file(file, None, SmallTokenTable(token_table.tokenizer, {"clip_l": 768}))
    write_embedding(Embedding("long", {"clip_l": torch.zeros(76, 4)}), tmp_path / "long.pt")
    with refused("fit.too_long", name="long", count=76, most=75):
        from_file(tmp_path / "long.pt", None, token_table)
    (tmp_path / "text.pt").write_bytes(b"no embedding")
    broken = torch.load(file, weights_only=True)
    broken["string_to_param"]["*"][0, 0] = float("nan")
    torch.save(broken, tmp_path / "nan.pt", _use_new_zipfile_serialization=False)
    for name in ("text.pt", "gone.pt", "nan.pt"):
        with refused("preflight.unusable_start") as caught:
            from_file(tmp_path / name, None, token_table)
        assert name.removesuffix(".pt") in str(caught.value.problems[0])
