"""`tinv create`: an embedding without a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Said
from tinv_ext.core.embedding import token_of
from tinv_ext.core.families import FAMILIES
from tinv_ext.core.formats import read_embedding

Tinv = Callable[..., Said]
FOLDER = Path("textual_inversion") / "embeddings"


def test_it_starts_where_a_training_would(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """The vectors of the text, stretched; a training that continues it takes them."""
    said = tinv("create", "zibbo", "--init_word", "red cat", "--num_vectors_per_token=3", "--author", "me")
    assert (said.code, said.out.strip()) == (0, str(FOLDER / "zibbo.pt")), said.err
    made = read_embedding(tmp_path / FOLDER / "zibbo.pt")
    assert (made.name, made.count, made.step, made.facts["author"]) == ("zibbo", 3, 0, "me")
    other = tinv("train", "--name", "zap", "--init-embedding", tmp_path / FOLDER / "zibbo.pt", "--images", pictures,
                 "--steps", 1, "--learning-rate", "1e-30")  # fmt: skip
    assert other.code == 0, other.err
    trained = read_embedding(tmp_path / FOLDER / "zap.pt")
    for encoder, vectors in made.vectors.items():
        assert torch.allclose(vectors, trained.vectors[encoder])
        assert vectors.abs().sum() > 0


def test_brackets_and_precision_are_as_in_a_training(tinv: Tinv, tmp_path: Path) -> None:
    """The file has no brackets, the token inside has; numbers are rounded on request."""
    said = tinv("create", "<zibbo>", "--init_word", "cat", "--save_precision", "fp16")
    assert said.code == 0, said.err
    made = read_embedding(tmp_path / FOLDER / "zibbo.pt")
    raw = torch.load(tmp_path / FOLDER / "zibbo.pt", weights_only=True)
    assert (made.name, token_of(made), raw["name"]) == ("zibbo", "<zibbo>", "<zibbo>")
    assert raw["string_to_param"]["*"].dtype == torch.float16


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_needs_no_model_and_starts_from_zero(tinv: Tinv, tmp_path: Path, family: str) -> None:
    """One vector unless more are wanted, for each of its text encoders."""
    from tinv_ext.cli.main import main

    assert main(["create", "zibbo", "--family", family, "--vectors", "2", "--embeddings", "mine"]) == 0
    (file,) = (tmp_path / "mine").iterdir()
    made = read_embedding(file)
    assert {key: tuple(one.shape) for key, one in made.vectors.items()} == {
        encoder: (2, width) for encoder, width in FAMILIES[family].encoders
    }
    assert not any(vectors.any() for vectors in made.vectors.values())


def test_an_embedding_of_the_name_is_kept(tinv: Tinv, tmp_path: Path) -> None:
    """Refused without --overwrite, whatever its format and capitals; else it can be undeleted."""
    assert tinv("create", "zibbo", "--to", "safetensors").code == 0
    first = (tmp_path / FOLDER / "zibbo.safetensors").read_bytes()
    said = tinv("create", "Zibbo")
    assert (said.code, "--overwrite" in said.err) == (2, True)
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["zibbo.safetensors"]
    assert tinv("create", "zibbo", "--overwrite_old", "--vectors", 2).code == 0
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["zibbo.pt"]
    (kept,) = (tmp_path / "textual_inversion").glob("embeddings-deleted/*/files/zibbo.safetensors")
    assert kept.read_bytes() == first


def test_every_problem_is_told_at_once_and_nothing_is_written(tinv: Tinv, tmp_path: Path) -> None:
    """Name, number, what it is for; a word that the model knows."""
    said = tinv("create", "a/b", "--num_vectors", "many", "--family", "SD1", "--init-text", "cat")
    assert said.code == 2
    for part in ("a/b", "'many'", "--family"):
        assert part in said.err, part
    assert "3 problems" in said.err
    said = tinv("create", "cat", "--num-vectors", "0", "--init-text", "a " * 80)
    assert (said.code, '"cat" is a word' in said.err, "80 tokens" in said.err) == (2, True, True)
    assert list(tmp_path.iterdir()) == []


def test_it_must_be_said_what_it_is_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The toy is no model that anybody would mean without saying so."""
    from tinv_ext.cli.main import main

    assert main(["create", "zibbo", "--embeddings", str(tmp_path)]) == 2
    assert "--family" in capsys.readouterr().err
