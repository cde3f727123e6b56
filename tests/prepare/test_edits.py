"""Changes by hand: each is saved beside the image, and undone to the byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.messages import refused
from tests.prepare.pictures import photo
from tests.prepare.test_undo import content
from tinv_ext.core.data.caption_files import CaptionFiles
from tinv_ext.prepare.edits import TURNS, image_in, last_edit, remove, turn, undo_edit, write_caption
from tinv_ext.prepare.undo import Record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images with captions of every kind, and a mask."""
    for name in ("a.png", "b.png", "c.jpg", "猫 图.png", "twin.png"):
        photo(len(name), 90, 70).save(tmp_path / name)
    photo(9, 90, 70).save(tmp_path / "twin.jpg")
    (tmp_path / "a.txt").write_text("a cat, old")
    (tmp_path / "b.caption").write_text("kohya's")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "c.jpg", "text": "of a table"}\n')
    Image.new("L", (90, 70), 255).save(tmp_path / "a-masklabel.png")
    return tmp_path


def caption(folder: Path, name: str) -> tuple[str, str]:
    """An image's caption as a run reads it, and where it is from."""
    found = CaptionFiles(folder).of(folder / name)
    return found.text, found.source


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.png", "a.txt"),
        ("b.png", "b.caption"),
        ("c.jpg", "c.txt"),
        ("猫 图.png", "猫 图.txt"),
        ("twin.png", "twin.png.txt"),
    ],
)
def test_a_caption_is_saved_where_a_run_reads_it(folder: Path, name: str, file: str) -> None:
    """In the file that it came from, else in one of its own; and undone."""
    before = content(folder)
    assert write_caption(folder, name, " 一只猫,  new\n") == file
    assert caption(folder, name) == ("一只猫, new", file)
    assert caption(folder, "twin.jpg") == ("twin", "")
    assert last_edit(folder) == f"caption {name}"
    undo_edit(folder)
    assert content(folder) == before


def test_an_emptied_caption_takes_its_file_away(folder: Path) -> None:
    """So that the image has its name's words again; and it comes back."""
    before = content(folder)
    write_caption(folder, "a.png", "  ")
    assert caption(folder, "a.png") == ("a", "")
    undo_edit(folder)
    assert content(folder) == before


@pytest.mark.parametrize("name", ["d.TXT", "D.txt", "d.tags", "d.png.CAPTION"])
def test_a_caption_goes_with_its_image_whatever_it_is_called(folder: Path, name: str) -> None:
    """Emptied or removed with the image: else an image that comes later would have it. That of another image stays."""
    photo(4, 90, 70).save(folder / "d.png")
    photo(5, 90, 70).save(folder / "D.d.png")
    (folder / name).write_text("a dog\n")
    (folder / "D.d.txt").write_text("another")
    before = content(folder)
    assert caption(folder, "d.png") == ("a dog", name)
    write_caption(folder, "d.png", "")
    assert caption(folder, "d.png") == ("d", "")
    undo_edit(folder)
    remove(folder, ["d.png"])
    assert before.keys() - content(folder).keys() == {"d.png", name}
    undo_edit(folder)
    assert content(folder) == before


@pytest.mark.parametrize("how", TURNS)
def test_an_image_is_turned_with_its_mask(folder: Path, how: str) -> None:
    """The pixels, in the same format; undone to the byte."""
    before = content(folder)
    pixels = np.asarray(Image.open(folder / "a.png").transpose(TURNS[how]))
    turn(folder, ["a.png", "c.jpg"], how)
    with Image.open(folder / "a.png") as turned:
        assert np.array_equal(np.asarray(turned), pixels)
    with Image.open(folder / "a-masklabel.png") as mask, Image.open(folder / "c.jpg") as jpeg:
        assert mask.size == pixels.shape[1::-1]
        assert (jpeg.format, jpeg.size) == ("JPEG", mask.size)
    undo_edit(folder)
    assert content(folder) == before


def test_an_image_that_lies_is_turned_as_it_is_seen(folder: Path) -> None:
    """EXIF's orientation is in the pixels afterwards, and counts once."""
    tags = Image.Exif()
    tags[0x0112] = 6
    photo(3, 90, 70).save(folder / "lying.jpg", exif=tags)
    turn(folder, ["lying.jpg"], "right")
    with Image.open(folder / "lying.jpg") as turned:
        assert (turned.size, dict(turned.getexif())) == ((90, 70), {})


def test_a_removed_image_comes_back_with_all_that_is_its_own(folder: Path) -> None:
    """Caption and mask; those of an image of the same name stay."""
    before = content(folder)
    (folder / "twin.txt").write_text("of both")
    remove(folder, ["a.png", "twin.png"])
    assert set(before) - set(content(folder)) == {"a.png", "a.txt", "a-masklabel.png", "twin.png"}
    assert caption(folder, "twin.jpg") == ("of both", "twin.txt")
    undo_edit(folder)
    assert content(folder) == {**before, "twin.txt": b"of both"}


def test_a_preparation_is_not_undone_by_hand(folder: Path) -> None:
    """Nor what came before it: the last is undone first."""
    write_caption(folder, "a.png", "new")
    Record.begin(folder).write(folder / "d.txt", b"prepared")
    assert last_edit(folder) == ""
    with refused("prepare.no_edit_to_undo"):
        undo_edit(folder)


def test_what_cannot_be_saved_as_it_is_is_not_turned(folder: Path) -> None:
    """An animation, a format that is only read, a damaged file."""
    frames = [photo(seed, 80, 80) for seed in (1, 2)]
    frames[0].save(folder / "moving.webp", save_all=True, append_images=frames[1:])
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:500])
    before = content(folder)
    with refused("prepare.cannot_turn", file="moving.webp"):
        turn(folder, ["moving.webp"], "left")
    with refused("images.file_reason", file="cut.png"):
        turn(folder, ["cut.png"], "left")
    with refused("prepare.no_turn"):
        turn(folder, ["a.png"], "inside out")
    assert content(folder) == before


@pytest.mark.parametrize("name", ["", "gone.png", "../a.png", "/etc/passwd", "a\0.png", "..\\a.png", "C:a.png", "."])
def test_a_name_leads_nowhere_else(folder: Path, name: str) -> None:
    """Only to what is in the folder."""
    with refused("prepare.no_such_image"):
        image_in(folder, name)
