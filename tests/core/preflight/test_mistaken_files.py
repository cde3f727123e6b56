"""Files that are read as something else than was meant are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import SmallTokenTable
from tests.core.preflight.test_files_not_used import told
from tests.messages import ids, said


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images, and one whose name only looks like a mask's."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(("a.png", "b.JPG", "c.webp", "gas_mask.png")):
        Image.new("RGB", (64, 64), (number * 60, 0, 0)).save(folder / name)
    return folder


def test_masks_that_are_trained_as_images_are_told(images: Path, token_table: SmallTokenTable) -> None:
    """As other programs call them; what no image of the folder has the name of is an image."""
    assert "preflight.masks_among_images" not in ids(told(images, token_table))
    for number, name in enumerate(("a_mask.png", "B-MASK.png", "c.mask.jpg")):
        Image.new("L", (64, 64), number).save(images / name)
    notices = told(images, token_table)
    assert said(notices, "preflight.masks_among_images", count=3, files="a_mask.png, B-MASK.png, c.mask.jpg")


def test_masks_in_another_format_are_told(images: Path, token_table: SmallTokenTable) -> None:
    """They are neither images nor used."""
    Image.new("L", (64, 64)).save(images / "a-masklabel.png")
    assert "preflight.masks_not_png" not in ids(told(images, token_table))
    Image.new("L", (64, 64)).save(images / "b-masklabel.jpg")
    for masked_loss in (False, True):
        notices = told(images, token_table, masked_loss=masked_loss)
        assert said(notices, "preflight.masks_not_png", count=1, files="b-masklabel.jpg")


def test_captions_of_json_are_told(images: Path, token_table: SmallTokenTable) -> None:
    """Where they are used, and not what only begins as JSON does."""
    texts = {"a": '{\n  "tags": ["red", "cat"]\n}', "b": "{red|blue} cat", "c": '["red"]', "gas_mask": "[red] cat"}
    for stem, text in texts.items():
        (images / f"{stem}.json").write_text(text, "utf-8")
    given = {"template": "subject_filewords", "caption_extension": "json"}
    assert said(told(images, token_table, **given), "preflight.captions_of_json", count=2, files="a.png, c.webp")
    for other in ({"template": "subject"}, {"caption_extension": ".txt"}):
        assert "preflight.captions_of_json" not in ids(told(images, token_table, **{**given, **other}))


def test_captions_of_other_programs_are_told(images: Path, token_table: SmallTokenTable) -> None:
    """The WebUI's parameters of an image, a web page and formatted text; not a caption that only speaks of them."""
    texts = {
        "a": "a cat\nNegative prompt: bad\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512",
        "b": "a cat,\nSteps: 20, Sampler: Euler a",
        "c": "<!DOCTYPE html><html><body>404</body></html>",
        "gas_mask": "a photo with a negative prompt, 3 steps: up",
    }
    for stem, text in texts.items():
        (images / f"{stem}.txt").write_text(text, "utf-8")
    notices = told(images, token_table, template="subject_filewords")
    assert said(notices, "preflight.captions_of_parameters", count=2, files="a.png, b.JPG")
    assert said(notices, "preflight.captions_of_markup", count=1, files="c.webp")
    (images / "c.txt").write_text(r"{\rtf1\ansi a cat}", "utf-8")
    notices = told(images, token_table, template="subject_filewords")
    assert said(notices, "preflight.captions_of_markup", count=1, files="c.webp")
