"""The examples of docs/python.md, run one after the other as a reader would, in an empty folder with some images."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

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
