"""A word that came in angle brackets: diffusers finds it with them, everybody else by the name of the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.core.formats.programs import LOADERS, REFUSALS, WORD, diffusers
from tests.core.formats.test_matrix import FACTS, FAMILIES
from tinv_ext.core.embedding import TOKEN, Embedding, token_of
from tinv_ext.core.formats import FOLDER, read_embedding, read_words, write_embedding
from tinv_ext.library.convert import ConvertOptions, convert

BRACKETED = f"<{WORD}>"
FILES = {
    "a1111": ("zworble.pt", {"A1111, Forge, reForge", "ComfyUI", "InvokeAI", "kohya"}),
    "safetensors": ("zworble.safetensors", {"A1111, Forge, reForge", "ComfyUI", "kohya"}),
    "diffusers-bin": ("zworble.bin", {"A1111, Forge, reForge", "ComfyUI", "kohya"}),
    FOLDER: ("zworble", set()),
}
"""Each file, with the programs beside diffusers that find the word `zworble` in it."""


def bracketed(family: str) -> Embedding:
    """An embedding whose word came in brackets."""
    return Embedding(WORD, FAMILIES[family], 5, "0123456789", "model", {**FACTS, TOKEN: BRACKETED})


@pytest.mark.parametrize("chosen", FILES)
def test_diffusers_finds_the_token_and_the_others_the_file(chosen: str, tmp_path: Path) -> None:
    """By their own loaders, the very vectors; read here, the name is the file's and the token is kept."""
    name, programs = FILES[chosen]
    path, embedding = tmp_path / name, bracketed("SD1")
    write_embedding(embedding, path, format=chosen)
    here = path / "learned_embeds.safetensors" if chosen == FOLDER else path
    assert torch.equal(diffusers(here, embedding.widths, BRACKETED)["clip_l"], embedding.vectors["clip_l"])
    with pytest.raises(REFUSALS):
        diffusers(here, embedding.widths)  # "zworble" alone is no word there
    for program in programs:
        found = LOADERS[program](path, embedding.widths)
        assert torch.equal(found["clip_l"], embedding.vectors["clip_l"]), program
    again = read_embedding(path)
    assert (again.name, token_of(again)) == (WORD, BRACKETED)
    assert {WORD, BRACKETED} <= read_words(path).keys()


def test_sdxl_in_a_folder_has_the_token_in_both_files(tmp_path: Path) -> None:
    """As diffusers' script for SDXL leaves it."""
    write_embedding(bracketed("SDXL"), tmp_path / WORD, format=FOLDER)
    found = diffusers(tmp_path / WORD, bracketed("SDXL").widths, BRACKETED)
    assert all(torch.equal(found[key], vectors) for key, vectors in FAMILIES["SDXL"].items())
    assert (tmp_path / WORD / "token_identifier.txt").read_text("utf-8") == BRACKETED


def test_an_image_calls_it_by_its_name(tmp_path: Path) -> None:
    """The WebUI goes by the name inside an image, and brackets are no part of its prompts' words."""
    write_embedding(bracketed("SD1"), tmp_path / "zworble.png")
    assert "clip_l" in LOADERS["A1111, Forge, reForge"](tmp_path / "zworble.png", bracketed("SD1").widths)
    assert token_of(read_embedding(tmp_path / "zworble.png")) == BRACKETED


def test_the_token_survives_a_conversion_and_not_another_name(tmp_path: Path) -> None:
    """From .pt to .bin and back; renamed, the word is the new name."""
    write_embedding(bracketed("SD1"), tmp_path / "zworble.pt")
    convert(tmp_path / "zworble.pt", tmp_path / "zworble.bin", ConvertOptions())
    again = convert(tmp_path / "zworble.bin", tmp_path / "again" / "zworble.pt", ConvertOptions())
    assert token_of(read_embedding(again.path)) == BRACKETED
    other = convert(again.path, tmp_path / "other.pt", ConvertOptions())
    assert token_of(read_embedding(other.path)) == "other"
