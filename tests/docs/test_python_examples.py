"""The examples of docs/python.md, run one after the other as a reader would, in an empty folder with some images."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

import tinv_ext
from tests.messages import refused
from tests.paths import ROOT

pytestmark = pytest.mark.once

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_every_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What one block makes, those after it use; the sentences of bad input are printed, not raised."""
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    for index in range(3):
        Image.new("RGB", (64, 64), (80 * index, 90, 30)).save(f"images/{index}.png")
    names: dict[str, object] = {}
    blocks = BLOCK.findall((ROOT / "docs" / "python.md").read_text(encoding="utf-8"))
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/python.md, block {number + 1}", "exec"), names)
    shown = capsys.readouterr().out
    assert "finished 4" in shown
    assert '"no such folder"' in shown
    assert {path.name for path in tmp_path.iterdir()} >= {"zworble.safetensors", "longer.pt", "zworble.png"}
    assert re.search(r"^0\.0+2 \{'0\.002': 0\.\d+, '0\.02': 0\.\d+\}$", shown, re.MULTILINE), shown
    assert re.search(r"^\[\(2, .*\), \(4, .*\), \(6, .*\)\]$", shown, re.MULTILINE), shown
    with Image.open("sheet.png") as sheet:
        before, after = (sheet.crop((left, 0, left + 64, 128)) for left in (0, 64))
        assert before.tobytes() != after.tobytes()
    with Image.open("zworble.png") as image:
        assert image.size == (64, 64)


def _images(folder: Path) -> Path:
    folder.mkdir()
    Image.new("RGB", (64, 64), "red").save(folder / "1.png")
    return folder


def test_settings_may_be_paths_and_the_numbers_of_numpy(tmp_path: Path) -> None:
    """As images, model and vae may be."""
    images, quiet = _images(tmp_path / "images"), {"preview_every": 0, "evaluate_every": numpy.int32(0)}
    made = tinv_ext.train("zibbo", images, output=tmp_path / "out", steps=numpy.int64(1), **quiet)
    assert (made.status, made.step) == ("finished", 1)
    assert made.folder.is_relative_to(tmp_path / "out")


def _word() -> tinv_ext.Embedding:
    return tinv_ext.Embedding("zibbo", {"clip_l": torch.zeros(2, 768)})


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: tinv_ext.save(torch.zeros(2, 768), "t.pt"), "embedding.not_one"),  # type: ignore[arg-type]
        (lambda: tinv_ext.save(_word(), "a\0.pt"), "paths.nul"),
        (lambda: tinv_ext.save(_word(), "\ud800.pt"), "paths.half_character"),
        (lambda: tinv_ext.load("a\0.pt"), "paths.nul"),
        (lambda: tinv_ext.inspect("a\0.pt"), "paths.nul"),
        (lambda: tinv_ext.resume("a\0"), "paths.nul"),
        (lambda: tinv_ext.train("zibbo", "x", output="a\0"), "paths.nul"),
        (lambda: tinv_ext.train("zibbo", "x", embeddings="a\0"), "paths.nul"),
        (lambda: tinv_ext.train("zibbo", "x", model="a\0"), "paths.nul"),
        (lambda: tinv_ext.train("zibbo", "x", precision="fp99"), "hosts.unknown_precision"),
    ],
)
def test_what_a_program_gives_wrongly_is_an_input_error(call: Callable[[], object], told: str) -> None:
    """In a sentence, before anything is written."""
    with refused(told):
        call()
