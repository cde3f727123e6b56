"""A model folder, a folder of pictures, and the command line called in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

from tests.hosts.conftest import tiny_pipeline  # noqa: F401  (a fixture)
from tinv_ext.cli.main import main


@dataclass(frozen=True)
class Said:
    """What one call of the command line gave back."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def model_folder(tiny_pipeline: StableDiffusionPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The tiny model as a diffusers folder."""
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline.save_pretrained(str(folder))
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Five small pictures, two of them with captions."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, colour in enumerate(("red", "green", "blue", "white", "black")):
        image = Image.new("RGB", (80, 64), colour)
        ImageDraw.Draw(image).ellipse((20 + index, 10, 60, 50), fill="purple")
        image.save(folder / f"{index}.png")
    (folder / "0.txt").write_text("red, round", encoding="utf-8")
    (folder / "1.txt").write_text("green, round", encoding="utf-8")
    return folder


@pytest.fixture
def tinv(
    tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    """Call the command line in an empty folder; commands that take a model get the tiny one."""
    monkeypatch.chdir(tmp_path)

    def call(command: str, *arguments: object) -> Said:
        model = [] if command == "toy" or "--model" in arguments else ["--model", str(model_folder)]
        code = main([command, *map(str, arguments), *model])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call
