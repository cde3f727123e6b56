"""Files of an image folder that a run makes nothing of are told, each with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import SmallTokenTable
from tests.messages import ids, said
from tinv_ext.core.preflight.prepare import prepare
from tinv_ext.core.settings import TrainConfig

REASONS = {"preflight.captions_of_no_image", "preflight.captions_of_another_extension"}
REASONS |= {"preflight.masks_of_no_image", "preflight.files_not_used"}
SIZES = {"width": 64, "height": 64}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two images with captions of several kinds, a mask, and a folder below."""
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    for name, color in (("a.png", "red"), ("b.JPG", "blue"), ("below/c.png", "green")):
        Image.new("RGB", (64, 64), color).save(folder / name)
    for name in ("a.txt", "B.caption", "a.png.tags", "below/c.txt"):
        (folder / name).write_text("a zibbo", "utf-8")
    (folder / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a zibbo"}', "utf-8")
    Image.new("L", (64, 64)).save(folder / "a-masklabel.png")
    return folder


def told(images: Path, table: SmallTokenTable, **given: Any) -> tuple[str, ...]:
    """The notices on a run of the folder."""
    config = TrainConfig.from_dict({"name": "zibbo", "images": str(images), **SIZES, **given})
    return prepare(config, table, {}).notices


def test_what_is_used_or_the_systems_own_is_not_told(images: Path, token_table: SmallTokenTable) -> None:
    """Captions in every letter case, tables, masks, and what file managers leave behind."""
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", ".hidden.txt"):
        (images / name).write_text("x", "utf-8")
    for recursive in (False, True):
        assert REASONS.isdisjoint(ids(told(images, token_table, recursive=recursive)))


def test_each_reason_is_told_with_the_files(images: Path, token_table: SmallTokenTable) -> None:
    """Also of those below, where these are looked into; many are counted."""
    for name in ("d.txt", "notes.md", "a.npz", "old.zip", "below/e.txt", *(f"{n}.json" for n in range(9))):
        (images / name).write_text("x", "utf-8")
    Image.new("L", (64, 64)).save(images / "e-masklabel.png")
    notices = told(images, token_table)
    assert said(notices, "preflight.captions_of_no_image", count=1, files="d.txt")
    assert said(notices, "preflight.masks_of_no_image", count=1, files="e-masklabel.png")
    assert said(notices, "preflight.files_not_used", count=12, files="0.json, 1.json, 2.json, 3.json, 4.json …")
    below = told(images, token_table, recursive=True)
    assert said(below, "preflight.captions_of_no_image", count=2, files="below/e.txt, d.txt")


def test_captions_of_another_extension(images: Path, token_table: SmallTokenTable) -> None:
    """kohya's caption_extension leaves others unread; one that nobody knows is no broken image."""
    (images / "a.cap").write_text("a zibbo", "utf-8")
    (images / "z.cap").write_text("a zibbo", "utf-8")
    notices = told(images, token_table, caption_extension=".caption")
    files = "a.png.tags, a.txt"
    assert said(notices, "preflight.captions_of_another_extension", count=2, files=files, extension=".caption")
    own = told(images, token_table, caption_extension="cap")
    assert "preflight.image_skipped" not in ids(own)
    assert said(own, "preflight.captions_of_no_image", count=1, files="z.cap")


def test_a_file_of_metadata_is_used(images: Path, token_table: SmallTokenTable) -> None:
    """kohya's in_json beside the images."""
    (images / "meta.json").write_text('{"a": {"caption": "a zibbo"}, "b": {"caption": "a zibbo"}}', "utf-8")
    assert "preflight.files_not_used" not in ids(told(images, token_table, in_json=str(images / "meta.json")))


@pytest.mark.parametrize(
    "table",
    ["file_name,text\nother.png,a zibbo\n", "a.png,a zibbo\n", "file_name\na.png\n", '"file_name"\n5\n'],
)
def test_a_table_that_names_no_image_is_told(images: Path, token_table: SmallTokenTable, table: str) -> None:
    """Not one that does, which says the same as the texts beside the images."""
    (images / "metadata.csv").write_text(table, "utf-8")
    notices = told(images, token_table)
    assert said(notices, "preflight.table_of_no_image", file="metadata.csv")
    assert not said(notices, "preflight.table_of_no_image", file="metadata.jsonl")


def test_an_image_without_a_suffix_is_no_caption(images: Path, token_table: SmallTokenTable) -> None:
    """It is trained on, with the caption beside it."""
    (images / "a.png").rename(images / "plain")
    (images / "a.txt").rename(images / "plain.txt")
    (images / "a.png.tags").unlink()
    notices = told(images, token_table)
    assert not said(notices, "preflight.captions_of_no_image")


def test_what_runs_below_have_drawn_is_not_trained_on(images: Path, token_table: SmallTokenTable) -> None:
    """Where the log directory is in the folder of images, its previews are no images to learn from."""
    run = images / "2026-01-31" / "zibbo-12-00-00"
    (run / "images").mkdir(parents=True)
    (images / "embeddings").mkdir()
    for name in ("config.json", "status.json", "log.txt"):
        (run / name).write_text("{}", "utf-8")
    for path in (run / "images" / "zibbo-5.png", images / "embeddings" / "zibbo.preview.png"):
        Image.new("RGB", (64, 64), "white").save(path)
    (images / "embeddings" / "zibbo.pt").write_bytes(b"")
    (images / "z.preview.png").write_bytes((images / "a.png").read_bytes() + b"1")  # of no embedding: an image
    config = TrainConfig.from_dict({"name": "zibbo", "images": str(images), **SIZES, "recursive": True})
    prepared = prepare(config, token_table, {})
    assert [image.name for image in prepared.images] == ["a.png", "b.JPG", "below/c.png", "z.preview.png"]
    assert said(prepared.notices, "preflight.runs_below", count=1, files="2026-01-31/zibbo-12-00-00")
    assert "preflight.captions_of_no_image" not in ids(prepared.notices)
