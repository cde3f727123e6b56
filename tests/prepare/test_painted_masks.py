"""Masks painted on the page: they lie beside the image as training reads them, and are undone to the byte."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.messages import refused
from tests.prepare.pictures import photo
from tests.prepare.test_undo import content
from tinv_ext.core.data.image_fit import FitRules
from tinv_ext.core.data.images import scan_images
from tinv_ext.core.data.masks import masks_of
from tinv_ext.prepare import painted_masks
from tinv_ext.prepare.edits import shares_stem, undo_edit
from tinv_ext.prepare.painted_masks import canvas_of, mask_beside, paint, small_mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A photo, one that lies on its side, a transparent one, and two that share a name."""
    photo(1, 90, 70).save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    photo(2, 90, 70).save(tmp_path / "lying.jpg", exif=exif)
    photo(3, 2000, 1000).convert("RGBA").save(tmp_path / "猫 large.png")
    for name in ("twin.png", "twin.jpg"):
        photo(4, 90, 70).save(tmp_path / name)
    return tmp_path


def painting(width: int, height: int, mode: str = "RGB") -> bytes:
    """White, its left half black."""
    image = Image.new(mode, (width, height), "white")
    image.paste("black", (0, 0, width // 2, height))
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "size"), [("a.png", (90, 70)), ("lying.jpg", (70, 90)), ("猫 large.png", (2000, 1000))]
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_painted_mask_is_the_masks_that_training_reads(
    folder: Path, name: str, size: tuple[int, int], mode: str
) -> None:
    """At the size of the image as it is seen, black where it was painted over; then undone."""
    before = content(folder)
    assert paint(folder, name, painting(size[0] // 2, size[1] // 2, mode))
    for twin in ("twin.png", "twin.jpg"):
        (folder / twin).unlink()
    (found,) = masks_of(scan_images(folder, FitRules(((64, 64),))), None).items()
    assert found[0].name == name
    assert found[1].path == mask_beside(folder / name)
    with Image.open(found[1].path) as mask:
        assert (mask.mode, mask.size) == ("L", size)
        levels = np.asarray(mask)
    assert (levels[:, : size[0] // 2 - 3] == 0).all()
    assert (levels[:, size[0] // 2 + 3 :] == 255).all()
    undo_edit(folder)
    assert content(folder) == {path: data for path, data in before.items() if "twin" not in str(path)}


def test_without_paint_the_mask_goes_and_comes_back_by_undo(folder: Path) -> None:
    """As an empty body, or all white."""
    paint(folder, "a.png", painting(90, 70))
    painted = (folder / "a-masklabel.png").read_bytes()
    white = io.BytesIO()
    Image.new("L", (9, 7), 255).save(white, "PNG")
    for cleared in (b"", white.getvalue()):
        assert not paint(folder, "a.png", cleared)
        assert mask_beside(folder / "a.png") is None
        assert small_mask(folder / "a.png") is None
        undo_edit(folder)
        assert (folder / "a-masklabel.png").read_bytes() == painted
    assert not paint(folder, "lying.jpg", b"")


def test_what_is_painted_on_is_small(folder: Path) -> None:
    """Image and mask at the same size, upright, transparency as white."""
    paint(folder, "猫 large.png", painting(2000, 1000))
    for made in (canvas_of(folder / "猫 large.png"), small_mask(folder / "猫 large.png")):
        assert made is not None
        with Image.open(io.BytesIO(made)) as image:
            assert image.size == (1024, 512)
    with Image.open(io.BytesIO(canvas_of(folder / "lying.jpg"))) as image:
        assert image.size == (70, 90)


def test_what_cannot_be_a_mask_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written then."""
    before = content(folder)
    with refused("prepare.mask_of_two", name="twin.png"):
        paint(folder, "twin.png", painting(90, 70))
    with refused("masks.unusable", file="a.png"):
        paint(folder, "a.png", b"no picture")
    with refused("prepare.no_such_image"):
        paint(folder, "../a.png", painting(90, 70))
    monkeypatch.setattr(painted_masks, "LARGEST", 10)
    with refused("prepare.mask_too_large", most=10):
        paint(folder, "a.png", painting(90, 70))
    assert content(folder) == before


def test_only_another_image_shares_a_name(tmp_path: Path) -> None:
    """Latents that kohya's scripts keep beside an image do not, nor the image itself under another spelling."""
    image = tmp_path / "cat.png"
    photo(1, 90, 70).save(image)
    for other in ("cat.npz", "cat.txt", "cat.safetensors"):
        (tmp_path / other).write_bytes(b"")
    os.link(image, tmp_path / "cat.PNG")  # as Windows finds it there
    assert not shares_stem(image)
    assert paint(tmp_path, "cat.png", painting(90, 70))
    photo(2, 90, 70).save(tmp_path / "cat.Jpg", "JPEG")
    assert shares_stem(image)
    assert shares_stem(tmp_path / "cat.Jpg")
