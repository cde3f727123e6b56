"""Masks of plain backgrounds: where they are found on images that were drawn, and that a room has none."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.messages import said
from tinv_ext.core.data.images import scan_images
from tinv_ext.core.data.masks import masks_of
from tinv_ext.core.errors import InputError
from tinv_ext.core.settings import TrainConfig
from tinv_ext.prepare.edits import last_edit, undo_edit
from tinv_ext.prepare.painted_masks import mask_backgrounds, paint, without_background
from tinv_ext.prepare.plain_background import mask_of

SIDE = 512
NONE = "prepare.no_plain_background"


def backgrounds() -> dict[str, np.ndarray]:
    """Colours (SIDE, SIDE, 3) behind a subject, by name."""
    rng = np.random.default_rng(1)
    flat = np.full((SIDE, SIDE, 3), 235.0)
    across = np.linspace(-1, 1, SIDE)[:, None]
    away = np.hypot(across, across.T)[..., None]
    rooms = Image.fromarray(rng.integers(0, 255, (12, 12, 3)).astype(np.uint8)).resize((SIDE, SIDE))
    return {
        "flat": flat,
        "grain": flat + rng.normal(0, 8, flat.shape),
        "light from above": flat - 60 * (1 + across[:, :, None]),
        "light from the left": flat - 60 * (1 + across.T[:, :, None]),
        "vignette": flat - 40 * away,
        "a room": np.asarray(rooms, dtype=float),
        "noise": rng.integers(0, 255, flat.shape).astype(float),
    }


def subject(bust: bool = False) -> Image.Image:
    """Where the subject is: a head with eyes as bright as the background, and, of a bust, shoulders at the border."""
    shown = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(shown)
    draw.ellipse((150, 90, 360, 400), fill=255)
    if bust:
        draw.rectangle((60, 340, 450, SIDE), fill=255)
    return shown


def image_on(background: np.ndarray, shown: Image.Image) -> Image.Image:
    """The subject on a background."""
    image = Image.fromarray(background.clip(0, 255).astype(np.uint8))
    image.paste((180, 60, 40), mask=shown)
    for left in (200, 280):
        ImageDraw.Draw(image).ellipse((left, 200, left + 30, 225), fill=(235, 235, 235))
    return image


def overlap(found: Image.Image | None, shown: Image.Image) -> float:
    """What both have in common, as a share of what either has."""
    assert found is not None
    assert (found.mode, found.size) == ("L", shown.size)
    one, other = (np.asarray(image) > 127 for image in (found, shown))
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("kind", ["flat", "grain", "light from above", "light from the left", "vignette"])
@pytest.mark.parametrize("bust", [False, True])
def test_the_subject_is_left(kind: str, bust: bool) -> None:
    """With its eyes, though they are of the background's colour, and also where it reaches the border."""
    shown = subject(bust)
    found = mask_of(image_on(backgrounds()[kind], shown))
    assert overlap(found, shown) >= 0.88
    assert found
    assert found.getpixel((215, 212)) == 255


@pytest.mark.parametrize("kind", ["a room", "noise"])
def test_what_is_not_plain_has_no_mask(kind: str) -> None:
    """Nothing is guessed."""
    assert mask_of(image_on(backgrounds()[kind], subject())) is None


def test_nothing_or_all_is_no_mask() -> None:
    """An image of one colour; ones of a few pixels; one that fills its frame."""
    assert mask_of(Image.new("RGB", (300, 200), "white")) is None
    for size in ((1, 1), (3000, 5), (7, 900)):
        assert mask_of(Image.new("RGB", size, "white")) is None
    full = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(full).rectangle((2, 2, 297, 297), fill="navy")
    assert mask_of(full) is None


def test_jpeg_and_size_make_no_difference() -> None:
    """Artefacts of compression are background; the mask has the size of the image."""
    shown, data = subject(), io.BytesIO()
    image_on(backgrounds()["flat"], shown).save(data, "JPEG", quality=50)
    assert overlap(mask_of(Image.open(data)), shown) >= 0.9
    large = (SIDE * 4, SIDE * 3)
    assert overlap(mask_of(image_on(backgrounds()["flat"], shown).resize(large)), shown.resize(large)) >= 0.93


def test_what_is_transparent_is_background() -> None:
    """Whatever colours lie below; an image that could be transparent and is not is looked at like any other."""
    shown = subject()
    image = image_on(backgrounds()["a room"], shown)
    image.putalpha(shown)
    found = mask_of(image)
    assert found
    assert found.tobytes() == shown.tobytes()
    whole = image_on(backgrounds()["flat"], shown).convert("RGBA")
    assert overlap(mask_of(whole), shown) >= 0.93


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images on a plain background, one of a room, one below, one with a mask, two of one name, and a text."""
    place = tmp_path / "images"
    (place / "below").mkdir(parents=True)
    plain = image_on(backgrounds()["flat"], subject())
    for name in ("a.png", "b.png", "below/c.png", "painted.png", "twin.png", "twin.bmp"):
        plain.save(place / name)
    image_on(backgrounds()["a room"], subject()).save(place / "room.png")
    Image.new("L", plain.size, 255).save(place / "painted-masklabel.png")
    (place / "odd.png").write_bytes(b"no image")
    (place / "a.txt").write_text("a caption", encoding="utf-8")
    return place


def files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder and below it, but for its record."""
    there = [path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0][0] != "."]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in there}


def test_all_images_of_a_folder_are_masked_and_it_is_undone(folder: Path) -> None:
    """Those that have no mask yet and show a plain background; a second time there is nothing to do."""
    before = files(folder)
    assert mask_backgrounds(folder) == 2
    assert set(files(folder)) - set(before) == {"a-masklabel.png", "b-masklabel.png"}
    with Image.open(folder / "a-masklabel.png") as mask:
        assert overlap(mask.copy(), subject()) >= 0.93
    assert last_edit(folder) == "mask the backgrounds"
    with pytest.raises(InputError) as caught:
        mask_backgrounds(folder)
    assert said(caught.value.problems, NONE)
    assert mask_backgrounds(folder, recursive=True) == 1
    undo_edit(folder)
    undo_edit(folder)
    assert files(folder) == before


def test_an_image_of_the_longest_name_is_passed_over(folder: Path) -> None:
    """No mask can be called after it; painted by hand, that is told, and nothing is written."""
    name = f"{'x' * 251}.png"
    (folder / "a.png").rename(folder / name)
    assert mask_backgrounds(folder) == 1
    before = files(folder)
    with pytest.raises(InputError) as caught:
        paint(folder, name, without_background(folder / name))
    assert said(caught.value.problems, "prepare.mask_name_too_long")
    assert files(folder) == before


def test_a_mask_is_proposed_for_one(folder: Path) -> None:
    """As a small picture, and nothing is written; of a room it is told that there is none."""
    before = files(folder)
    with Image.open(io.BytesIO(without_background(folder / "a.png"))) as proposed:
        assert overlap(proposed.copy(), subject()) >= 0.93
    with pytest.raises(InputError) as caught:
        without_background(folder / "room.png")
    assert said(caught.value.problems, NONE, count=1)
    assert files(folder) == before


def test_a_run_takes_these_masks(folder: Path) -> None:
    """They are those that masked_loss looks for."""
    mask_backgrounds(folder)
    scan = scan_images(folder, TrainConfig(images=str(folder), width=64, height=64).fit_rules)
    assert {path.stem for path in masks_of(scan, None)} == {"a", "b", "painted"}
