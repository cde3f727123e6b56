"""The part "Prepare" in a real browser, as a person uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.prepare.pictures import photo
from tests.ui.browser import needs_chromium, opened
from tests.ui.test_browser import address, jobs_home, page  # noqa: F401  (fixtures)
from tests.ui.test_browser_chinese import english
from tests.ui.test_browser_live import AXE
from tests.ui.test_image_routes import figure

pytestmark = [needs_chromium, pytest.mark.once]
TAB = "button[role=tab]:has-text('{0}'), .tab-nav button:has-text('{0}')"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three images, one with a caption, one another's copy."""
    folder = tmp_path / "in"
    folder.mkdir()
    photo(1, 300, 200).save(folder / "a.png")
    photo(1, 300, 200).resize((150, 100)).save(folder / "b.png")
    photo(2, 300, 200).save(folder / "c.png")
    (folder / "a.txt").write_text("a cat", "utf-8")
    return folder


def fill(page: Any, name: str, text: str) -> None:  # noqa: F811
    """Type into a control."""
    page.fill(f"#tinv_prepare_{name}", text)


def tick(page: Any, name: str, choice: str) -> None:  # noqa: F811
    """Tick one of several choices."""
    page.click(f"#tinv_prepare_{name} label:has-text('{choice}')")


def said(page: Any, place: str, text: str) -> None:  # noqa: F811
    """Wait until a part of the page holds a text."""
    page.wait_for_function(
        "([place, text]) => (document.querySelector(place) || {}).textContent?.includes(text)", arg=[place, text]
    )


def test_images_are_checked_prepared_and_undone(page: Any, source: Path, tmp_path: Path) -> None:  # noqa: F811
    """Check writes nothing; Prepare says how far it is and shows what was made; Undo takes it back."""
    out = tmp_path / "out"
    page.click(TAB.format("Prepare"))
    fill(page, "source", str(source))
    fill(page, "target", str(out))
    fill(page, "width", "128")
    fill(page, "height", "128")
    tick(page, "leave_out", "duplicates")
    tick(page, "flip", "left to right")
    page.click("#tinv_prepare_check")
    said(page, "#tinv_prepare_answer", "shows the same as a.png")
    assert not out.exists()
    page.click("#tinv_prepare")
    said(page, "#tinv_prepare_progress", "Done: 4 images and 2 captions were written into")
    names = ["00000-0-a.png", "00000-1-a.png", "00002-0-c.png", "00002-1-c.png"]
    assert sorted(path.name for path in out.glob("*.png")) == names
    page.wait_for_function("document.querySelectorAll('.tinv-pair img').length === 8")
    page.locator(".tinv-pairs").scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('.tinv-pair img')].every((image) => image.naturalWidth > 0)")
    page.click("#tinv_prepare_check")
    said(page, "#tinv_part_prepare", "There are 6 files")
    page.click("#tinv_prepare_undo")
    said(page, "#tinv_prepare_answer", "Undone: 6 files removed, 0 restored.")
    assert not out.exists()
    assert page.locator(".tinv-prepare .tinv-problems").count() == 0  # what was wrong with another click
    fill(page, "width", "100")
    page.click("#tinv_prepare_check")
    said(page, "#tinv_part_prepare", '"Width of new images (width)" must be a multiple of 8')
    fill(page, "width", "128")
    page.wait_for_selector(".tinv-prepare .tinv-problems", state="detached")
    page.wait_for_function("document.querySelectorAll('.tinv-pair').length === 0")


def test_what_was_prepared_is_trained_on_by_one_click(page: Any, source: Path, tmp_path: Path) -> None:  # noqa: F811
    """The folder is in the form of a run, with its images shown; what was typed is there after a reload."""
    out = tmp_path / "out"
    page.click(TAB.format("Prepare"))
    fill(page, "source", str(source))
    fill(page, "target", str(out))
    page.select_option("#tinv_prepare_crop", label="the most salient part")
    page.click("#tinv_prepare")
    page.click("button:has-text('Train with these images')")
    page.wait_for_selector("#tinv_images", state="visible")
    assert page.input_value("#tinv_images") == str(out)
    page.wait_for_function("document.querySelectorAll('.tinv-dataset img').length === 3")
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector("#tinv_train")
    page.click(TAB.format("Prepare"))
    page.wait_for_selector("#tinv_prepare_source", state="visible")
    kept = [page.input_value(f"#tinv_prepare_{name}") for name in ("source", "target", "crop")]
    assert kept == [str(source), str(out), "focal"]
    said(page, "#tinv_prepare_progress", "Done: 3 images")


def test_what_was_done_is_no_answer_to_what_is_asked_next(page: Any, source: Path, tmp_path: Path) -> None:  # noqa: F811
    """Check takes it from sight, also where it is refused; until then its button means the folder that was prepared."""
    out = tmp_path / "out"
    page.click(TAB.format("Prepare"))
    fill(page, "source", str(source))
    fill(page, "target", str(out))
    page.click("#tinv_prepare")
    said(page, "#tinv_prepare_progress", "Done: 3 images")
    fill(page, "target", str(tmp_path / "another"))
    page.click("button:has-text('Train with these images')")
    page.wait_for_selector("#tinv_images", state="visible")
    assert page.input_value("#tinv_images") == str(out)
    page.click(TAB.format("Prepare"))
    said(page, "#tinv_prepare_progress", "Done: 3 images")
    fill(page, "width", "7")
    page.click("#tinv_prepare_check")
    said(page, "#tinv_part_prepare", '"Width of new images (width)" must be a multiple of 8')
    assert page.inner_text("#tinv_prepare_progress") == ""
    fill(page, "width", "64")
    page.click("#tinv_prepare")
    said(page, "#tinv_prepare_progress", "another")


def test_masks_that_were_made_are_trained_with(page: Any, source: Path) -> None:  # noqa: F811
    """The button for these images turns on that masks count."""
    for file in source.glob("*.png"):
        figure(ord(file.stem) - ord("a")).save(file)
    page.click(TAB.format("Prepare"))
    fill(page, "source", str(source))
    page.check("#tinv_prepare_mask_backgrounds")
    page.click("#tinv_prepare")
    said(page, "#tinv_prepare_progress", "3 masks of plain backgrounds were written")
    page.click("button:has-text('Train with these images')")
    page.wait_for_selector("#tinv_use_masks", state="visible")
    assert page.input_value("#tinv_images") == str(source)
    assert page.is_checked("#tinv_use_masks")


def test_what_is_wrong_is_told(page: Any, source: Path) -> None:  # noqa: F811
    """All at once, as text; nothing is begun."""
    photo(3).save(source / "<img src=x>.png")
    page.click(TAB.format("Prepare"))
    page.click("#tinv_prepare")
    said(page, "#tinv_part_prepare", "Enter the source directory.")
    fill(page, "source", str(source))
    fill(page, "width", "7")
    tick(page, "flip", "upside down")
    page.click("#tinv_prepare_check")
    said(page, "#tinv_part_prepare", '"Width of new images (width)" must be a multiple of 8')
    said(page, "#tinv_part_prepare", "Name a folder for the new images.")
    tick(page, "flip", "upside down")
    fill(page, "width", "64")
    page.click("#tinv_prepare_check")
    said(page, "#tinv_prepare_answer", "<img src=x>.png")


def test_in_chinese(address: str, source: Path) -> None:  # noqa: F811
    """Labels, choices and answers."""
    with opened(address, "zh-CN") as page:  # noqa: F811
        page.click(TAB.format("预处理"))
        said(page, "#tinv_part_prepare", "创建翻转副本")
        said(page, "#tinv_prepare_flip", "水平")
        fill(page, "source", str(source))
        page.click("#tinv_prepare_check")
        said(page, "#tinv_prepare_answer", "发现：重复（1）")
        page.click("#tinv_prepare_splitting > summary")
        page.click("#tinv_prepare_wd14 > summary")
        assert [text for text in english(page) if not text.endswith(".png")] == []
        page.click("#tinv_prepare")
        said(page, "#tinv_part_prepare", "没有要做的事")


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_report_can_be_read_by_everybody(page: Any, source: Path, width: int, theme: str) -> None:  # noqa: F811
    """axe-core finds nothing serious, and nothing sticks out, on a phone, too."""
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{page.url.split('?')[0]}?__theme={theme}", wait_until="domcontentloaded")
    page.click(TAB.format("Prepare"))
    fill(page, "source", str(source))
    page.click("#tinv_prepare_check")
    said(page, "#tinv_prepare_answer", "shows the same as a.png")
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run('#tinv_part_prepare').then(({violations}) => violations)")
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    table = page.locator("#tinv_prepare_answer .tinv-table").bounding_box()
    assert table["x"] + table["width"] <= width
