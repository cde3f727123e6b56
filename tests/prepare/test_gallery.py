"""Thumbnails and measures: each image decoded once, seen anew when it changes, within bounds."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.prepare.pictures import photo
from tinv_ext.core.data.image_fit import FitRules
from tinv_ext.prepare import gallery
from tinv_ext.prepare.gallery import Gallery, image_files

RULES = FitRules(sizes=((64, 64),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of different shapes."""
    for index, size in enumerate(((90, 70), (70, 90), (400, 200))):
        photo(index, *size).save(tmp_path / f"{index}.png")
    return tmp_path


def looked_at(shown: Gallery, paths: list[Path], rules: FitRules = RULES) -> None:
    """All of them, by the thread."""
    shown.look_at(paths, rules, rules.sizes[0])
    end = time.monotonic() + 60
    while not all(shown.seen(paths)):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_frames_are_those_of_training(folder: Path) -> None:
    """For the middle, and for what is most salient; another size is another look."""
    shown, paths = Gallery(), image_files(folder)
    looked_at(shown, paths)
    wide = [one.frame for one in shown.seen(paths) if one][2]
    assert wide
    assert (wide.part, wide.width, wide.height) == ((0.25, 0.0, 0.5, 1.0), 64, 64)
    looked_at(shown, paths, FitRules(sizes=((128, 64),)))
    wide = [one.frame for one in shown.seen(paths) if one][2]
    assert wide
    assert wide.part == (0.0, 0.0, 1.0, 1.0)
    looked_at(shown, paths, FitRules(sizes=((64, 64),), crop="focal"))
    assert all(one and one.frame and one.frame.part[2] <= 1 for one in shown.seen(paths))


def test_a_changed_image_is_seen_anew(folder: Path) -> None:
    """By its size and time; what is gone is not there."""
    shown, paths = Gallery(), image_files(folder)
    looked_at(shown, paths)
    before = shown.thumbnail(paths[0])
    photo(9, 200, 100).save(paths[0])
    assert next(iter(shown.seen(paths))) is None
    after = shown.thumbnail(paths[0])
    assert after
    assert after != before
    paths[1].unlink()
    assert shown.thumbnail(paths[1]) is None


def test_thumbnails_stay_within_bounds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of size and of memory; an image is decoded once for measures and thumbnail."""
    opened = []
    whole = gallery.upright
    monkeypatch.setattr(gallery, "upright", lambda path: opened.append(path) or whole(path))
    shown, paths = Gallery(), image_files(folder)
    looked_at(shown, paths)
    made = [shown.thumbnail(path) for path in paths]
    assert sorted(opened) == paths
    with Image.open(io.BytesIO(made[2] or b"")) as small:
        assert small.size == (gallery.SIDE, gallery.SIDE // 2)
    monkeypatch.setattr(gallery, "ROOM", len(made[0] or b"") + 1)
    photo(5, 90, 90).save(folder / "new.png")
    assert shown.thumbnail(folder / "new.png")
    assert shown._room <= gallery.ROOM or len(shown._thumbnails) == 1


def test_what_cannot_be_used_says_why(folder: Path) -> None:
    """And has no thumbnail."""
    (folder / "broken.png").write_bytes(b"no image")
    shown, paths = Gallery(), image_files(folder)
    looked_at(shown, paths)
    broken = dict(zip(paths, shown.seen(paths)))[folder / "broken.png"]
    assert broken
    assert broken.reason
    assert shown.thumbnail(folder / "broken.png") is None
