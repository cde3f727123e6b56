"""The commands for finished files as a person uses them: codes, sentences, files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.cli.conftest import Said
from tinv_ext.cli import embeddings
from tinv_ext.cli.main import main
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats import FOLDERS, FORMATS, read_embedding, write_embedding
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.library.combine import FILLS

Run = Callable[..., Said]
VECTORS = torch.linspace(-1, 1, 1536).view(2, 768)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command line in a folder with one embedding, word.pt, of two vectors."""
    monkeypatch.chdir(tmp_path)
    write_embedding(Embedding("word", {"clip_l": VECTORS}, 7, facts={"made_by": "x"}), tmp_path / "word.pt")

    def call(*arguments: object) -> Said:
        code = main([*map(str, arguments)])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


def test_the_formats_and_fills_of_the_help_are_those_that_there_are() -> None:
    """They are written down twice so that `--help` does not wait for torch."""
    assert set(embeddings.FORMATS) == set(FORMATS)
    assert set(embeddings.FOLDERS) == set(FOLDERS)
    assert embeddings.FILLS == FILLS


def test_convert_says_where_the_file_is(run: Run, tmp_path: Path) -> None:
    """Code 0 and the path; the same again is refused with code 2 until --overwrite."""
    said = run("convert", "word.pt", "new.safetensors", "--license", "CC0", "--author", "Ada")
    assert (said.code, said.out) == (0, "new.safetensors\n")
    assert read_embedding(tmp_path / "new.safetensors").facts["license"] == "CC0"
    said = run("convert", "word.pt", "new.safetensors")
    assert (said.code, "already exists" in said.err) == (2, True)
    assert run("convert", "word.pt", "new.safetensors", "--overwrite").code == 0
    assert run("convert", "word.pt", "folder", "--to", "diffusers-folder").code == 0
    assert (tmp_path / "folder" / "token_identifier.txt").read_text() == "word"


def test_all_of_a_bundle_are_written_and_hostile_names_are_not(run: Run, tmp_path: Path) -> None:
    """Each under its own word; a name that climbs out of the folder stops all of it."""
    save_file({f"bundle_emb.{name}.string_to_param.*": VECTORS.clone() for name in "ab"}, "good.safetensors")
    assert run("convert", "good.safetensors", "out").code == 2
    assert run("convert", "good.safetensors", "out", "--all").code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.pt", "b.pt"]
    names = ("a", "..\\up", "/up")
    save_file({f"bundle_emb.{name}.string_to_param.*": VECTORS.clone() for name in names}, "bad.safetensors")
    for more in ([], ["--to", "diffusers-folder"]):
        said = run("convert", "bad.safetensors", "bad", "--all", *more)
        assert (said.code, "--pick" in said.err) == (2, True)
    assert not (tmp_path / "bad").exists()


def test_extend_and_average(run: Run, tmp_path: Path) -> None:
    """Files of more vectors, and of a mean."""
    assert run("extend", "word.pt", "longer.pt", "--vectors", 5, "--fill", "zeros").code == 0
    longer = read_embedding(tmp_path / "longer.pt")
    assert (longer.count, longer.step, longer.name) == (5, 7, "longer")
    write_embedding(Embedding("b", {"clip_l": VECTORS * 3}, 9), tmp_path / "b.pt")
    assert run("average", "word.pt", "b.pt", "--output", "mean.pt", "--shares", "1,1").code == 0
    assert torch.allclose(read_embedding(tmp_path / "mean.pt").vectors["clip_l"], VECTORS * 2)
    said = run("average", "word.pt", "longer.pt", "--output", "no.pt")
    assert (said.code, "Only embeddings of one shape" in said.err) == (2, True)
    assert run("average", "word.pt", "b.pt", "--output", "no.pt", "--shares", "1,x").code == 2
    assert run("extend", "word.pt", "no.pt", "--vectors", 1).code == 2
    assert not (tmp_path / "no.pt").exists()


def test_inspect_reads_any_file_and_speaks_json(run: Run, tmp_path: Path) -> None:
    """Lines for people, JSON for programs, a sentence for what is no embedding."""
    said = run("inspect", "word.pt")
    assert (said.code, "SD1 (clip_l 768)" in said.out, "made_by" in said.out) == (0, True, True)
    found = json.loads(run("inspect", "word.pt", "--json").out)
    assert found["embeddings"][0]["norms"]["clip_l"] == pytest.approx(VECTORS.norm(dim=1).tolist())
    (tmp_path / "bad.pt").write_bytes(b"junk")
    for name in ("bad.pt", "none.pt"):
        said = run("inspect", name)
        assert (said.code, name in said.err) == (2, True)


def test_inspect_with_a_model_names_the_nearest_words(run: Run, tmp_path: Path, model_folder: Path) -> None:
    """Vectors that were taken from words of the model are nearest to these; another model's are told to be so."""
    from tinv_ext.hosts.diffusers.open_pipeline import open_pipeline

    host = DiffusersHost(open_pipeline(model_folder), tmp_path / "none", {})
    vectors = host.token_table.token_vectors(host.token_table.tokenizer.ids("cat house"))
    write_embedding(Embedding("two", vectors), tmp_path / "two.pt")
    found = json.loads(run("inspect", "two.pt", "--json", "--model", model_folder, "--nearest", 2).out)
    rows = found["embeddings"][0]["nearest"]["clip_l"]
    assert [row[0]["token"] for row in rows] == ["cat", "house"]
    assert [len(row) for row in rows] == [2, 2]
    assert "cat 1.00" in run("inspect", "two.pt", "--model", model_folder).out
    assert "another kind of model" in run("inspect", "word.pt", "--model", model_folder).out
    assert run("inspect", "two.pt", "--nearest", -1).code == 2
