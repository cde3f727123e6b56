"""Files on their way in: whole and usable, or nothing is left of them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from tests.messages import refused
from tests.prepare.pictures import photo
from tinv_ext.core.names import RESERVED
from tinv_ext.prepare.uploads import Upload, file_name


def png(seed: int = 1, size: tuple[int, int] = (90, 70)) -> bytes:
    """An image's file."""
    data = io.BytesIO()
    photo(seed, *size).save(data, "PNG")
    return data.getvalue()


def sent(folder: Path, name: str, data: bytes) -> Path:
    """A file that arrives in pieces."""
    with Upload(folder, name) as upload:
        for start in range(0, len(data), 999):
            upload.write(data[start : start + 999])
        return upload.finish()


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("cat.png", "cat.png"),
        ("猫の絵.PNG", "猫の絵.PNG"),
        ("Кот №1.jpg", "Кот №1.jpg"),
        ("😀.webp", "😀.webp"),
        ("e\u0301te\u0301.png", "été.png"),
        ("set/sub/a.png", "set-sub-a.png"),
        ("..\\..\\a.png", "a.png"),
        ("../../etc/passwd", "etc-passwd"),
        (".hidden.png", "hidden.png"),
        ("a:b*?.png", "a-b.png"),
        ("nul.png", "_nul.png"),
        ("", "image"),
        ("...", "image"),
        ("\ud800.png", "image.png"),
        ("a\0b\n.png", "a-b.png"),
        ("x" * 300 + ".png", "x" * 160 + ".png"),
        ("é" * 200 + ".png", "é" * 80 + ".png"),
    ],
)
def test_a_name_is_kept_as_far_as_systems_take_it(given: str, name: str) -> None:
    """In every language."""
    assert file_name(given) == name
    assert name.split(".")[0].lower() not in RESERVED


def test_an_image_arrives_whole(tmp_path: Path) -> None:
    """Its bytes, and nothing beside it."""
    path = sent(tmp_path / "new", "猫.png", png())
    assert path.read_bytes() == png()
    assert os.listdir(tmp_path / "new") == ["猫.png"]


def test_the_same_file_again_is_the_same_and_another_gets_its_own_name(tmp_path: Path) -> None:
    """So that who lost the connection can send all of it once more."""
    assert [sent(tmp_path, "a.png", png(seed)).name for seed in (1, 1, 2, 2, 3)] == [
        "a.png",
        "a.png",
        "a (2).png",
        "a (2).png",
        "a (3).png",
    ]


@pytest.mark.parametrize("data", [b"", b"no image", b"<svg/>", png()[:600]], ids=["empty", "text", "svg", "cut"])
def test_what_is_no_image_leaves_nothing(tmp_path: Path, data: bytes) -> None:
    """It is named, with the reason."""
    with refused("uploads.left_out", file="evil.png"):
        sent(tmp_path, "evil.png", data)
    assert os.listdir(tmp_path) == []


def test_too_many_pixels_are_told(tmp_path: Path) -> None:
    """A hundred million, in a file of a few kilobytes."""
    data = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(data, "PNG")
    with refused("uploads.left_out") as problems:
        sent(tmp_path, "huge.png", data.getvalue())
    assert problems.value.problems[0].values["reason"].id == "images.too_large"
    assert os.listdir(tmp_path) == []


def test_captions_come_along(tmp_path: Path) -> None:
    """If they are text, and not too long."""
    assert sent(tmp_path, "a.txt", "a cat, 猫".encode()).read_text("utf-8") == "a cat, 猫"
    with refused("uploads.left_out"):
        sent(tmp_path, "b.txt", b"\xff\xfe\xfa")
    with refused("uploads.too_large"):
        sent(tmp_path, "c.txt", b"x" * (1 << 21))
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_lost_connection_leaves_nothing(tmp_path: Path) -> None:
    """Whatever has come of the file goes."""
    with Upload(tmp_path, "a.png") as upload:
        upload.write(png()[:300])
    assert os.listdir(tmp_path) == []
