"""Another step than the last becomes the embedding; and what a preview says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.fake_host import FakeHost
from tests.messages import refused
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats import read_embedding, write_embedding
from tinv_ext.core.generation import ImageRequest, infotext
from tinv_ext.run.chosen_step import use_step
from tinv_ext.run.preview_text import PreviewText, parsed, preview_text
from tinv_ext.run.run_folder import RunFolder, write_image


def embedding(name: str, step: int) -> Embedding:
    """One whose vectors are its step."""
    return Embedding(name, {"clip_l": torch.full((1, 8), float(step))}, step)


def test_a_snapshot_takes_the_place_of_the_embedding(tmp_path: Path) -> None:
    """Under the run's name, in the snapshot's format; those of before are kept, and no prompt finds them."""
    run, host = RunFolder(tmp_path / "run"), FakeHost(tmp_path / "embeddings")
    for step in (5, 10):
        file = run.snapshot("cat", step)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_embedding(embedding(file.stem, step), file)
    host.embeddings_folder.mkdir(exist_ok=True)
    for suffix in (".pt", ".safetensors"):
        write_embedding(embedding("cat", 12), host.embeddings_folder / f"cat{suffix}")
    target = use_step(run, "cat", 5, host)
    assert [file.name for file in host.embeddings_folder.iterdir()] == [target.name] == ["cat.pt"]
    found = read_embedding(target)
    assert (found.name, found.step) == ("cat", 5)
    assert torch.equal(found.vectors["clip_l"], torch.full((1, 8), 5.0))
    assert sorted(read_embedding(file).step or 0 for file, _ in run.replaced()) == [12, 12]
    before = target.read_bytes()
    with refused("run.no_snapshot", name="cat", step=7):
        use_step(run, "cat", 7, host)
    assert target.read_bytes() == before


@pytest.mark.parametrize("negative", ["", "blur", "blur\ngrey"])
def test_a_preview_says_its_prompt_and_seed(tmp_path: Path, negative: str) -> None:
    """As they were asked for, whatever is in the prompt."""
    request = ImageRequest("a cat, Seed: 9\nin red", negative, 20, 7.0, 123, 64, 64)
    path = tmp_path / "x.png"
    write_image(Image.new("RGB", (8, 8)), path, {"parameters": infotext(request, {"Model": "m, n"})})
    assert preview_text(path) == PreviewText(request.prompt, negative, 123)


def test_a_file_that_says_nothing_is_empty(tmp_path: Path) -> None:
    """No file, no image, no text, odd text."""
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    for name in ("none.png", "broken.png", "plain.png"):
        assert preview_text(tmp_path / name) == PreviewText()
    assert parsed("Negative prompt: x\nSeed: ") == PreviewText("", "x", None)
