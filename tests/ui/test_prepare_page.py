"""The part "Prepare" in a real browser, as a person uses it; and its functions as a stranger calls them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from tests.prepare.pictures import photo
from tests.prepare.test_undo import content
from tests.ui.test_browser import CHROMIUM, address, jobs_home, opened, page  # noqa: F401  (fixtures)
from tests.ui.test_browser_chinese import english
from tinv_ext.prepare.captions import CaptionOf
from tinv_ext.server.allowed_paths import allow_only
from tinv_ext.server.preparations import Preparations
from tinv_ext.ui import prepare_tab
from tinv_ext.ui.context import PageContext

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
TAB = "button[role=tab]:has-text('{0}'), .tab-nav button:has-text('{0}')"
STRANGER = SimpleNamespace(client=None, headers={})


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
    page.fill(f"#tinv_prepare_{name} textarea, #tinv_prepare_{name} input[type=number]", text)


def said(page: Any, place: str, text: str) -> None:  # noqa: F811
    """Wait until a part of the page holds a text."""
    page.wait_for_function(
        "([place, text]) => (document.querySelector(place) || {}).textContent?.includes(text)", arg=[place, text]
    )


@in_browser
def test_images_are_checked_prepared_and_undone(page: Any, source: Path, tmp_path: Path) -> None:  # noqa: F811
    """Check writes nothing; Prepare says how far it is and what was written; Undo takes it back."""
    out = tmp_path / "out"
    page.click(TAB.format("Prepare"))
    fill(page, "source", str(source))
    fill(page, "target", str(out))
    fill(page, "width", "128")
    fill(page, "height", "128")
    page.click("#tinv_prepare_leave_out label:has-text('duplicates')")
    page.click("#tinv_prepare_flip label:has-text('horizontal')")
    page.click("#tinv_prepare_check")
    said(page, "#tinv_prepare_answer", "shows the same as a.png")
    assert not out.exists()
    page.click("#tinv_prepare")
    said(page, "#tinv_prepare_progress", "Done: 4 images and 2 captions were written into")
    assert sorted(path.name for path in out.glob("*.png")) == [
        "00000-0-a.png",
        "00000-1-a.png",
        "00002-0-c.png",
        "00002-1-c.png",
    ]
    page.click("#tinv_prepare_check")
    said(page, "#tinv_prepare_answer", "There are 6 files")
    page.click("#tinv_prepare_undo")
    said(page, "#tinv_prepare_answer", "Undone: 6 files removed, 0 restored.")
    assert not out.exists()


@in_browser
def test_in_chinese(address: str, source: Path) -> None:  # noqa: F811
    """Labels, choices and answers."""
    with opened(address, "zh-CN") as page:  # noqa: F811
        page.click(TAB.format("预处理"))
        said(page, "#tinv_preparing", "创建翻转副本")
        said(page, "#tinv_prepare_flip", "水平")
        fill(page, "source", str(source))
        page.click("#tinv_prepare_check")
        said(page, "#tinv_prepare_answer", "发现：重复（1）")
        page.click("#tinv_prepare_splitting")
        page.click("#tinv_prepare_wd14")
        assert [text for text in english(page) if not text.endswith(".png")] == []
        page.click("#tinv_prepare")
        said(page, "#tinv_prepare_answer", "没有要做的事")


# --- its functions, as anybody may call them -----------------------------------------------------------------------


class Pressed:
    """The page's functions with the controls as they stand, and changes."""

    def __init__(self, context: PageContext) -> None:
        with gr.Blocks() as blocks, gr.Tabs(), gr.Tab("Prepare") as tab:
            prepare_tab.build(tab, context)
        fns = blocks.fns.values() if isinstance(blocks.fns, dict) else blocks.fns
        self.fns = {fn.fn.__name__: fn.fn for fn in fns if fn.fn}
        bound = self.fns["check"].__self__
        self.names = bound.names
        self.values = {component: component.value for component in bound.names}

    def __call__(self, which: str, **changes: Any) -> Any:
        """What a function answers."""
        given = {one: changes.get(self.names[one], value) for one, value in self.values.items()}
        return self.fns[which](given, STRANGER)


def test_paths_that_are_not_open_are_refused(source: Path, tmp_path: Path) -> None:
    """The folder to read, the folder to write into, the tagger's file: each is named; nothing is made or undone."""
    press = Pressed(PageContext(lambda request: allow_only([source])))
    before = content(tmp_path)
    assert "Ready" not in press("check", source=str(source))
    for which in ("check", "undo"):
        told = str(press(which, source=str(tmp_path), target=str(tmp_path / "out"), tagger="/etc/passwd"))
        for label in ("Source directory", "Destination directory", "Tagger file"):
            assert f"{label} (" in told
    ((told, _),) = press("prepare", source=str(source), target=str(tmp_path / "out"))
    assert "Destination directory (target) is outside" in told
    assert content(tmp_path) == before


@pytest.mark.parametrize("place", ["//server/share/x", "\\\\server\\share", "/dev/zero", "/proc/self/environ"])
def test_other_machines_and_devices_are_refused(place: str, source: Path, tmp_path: Path) -> None:
    """Also where every folder of this machine may be used, as on the standalone page."""
    press = Pressed(PageContext())
    for which, places in (("check", {"source": place}), ("check", {"tagger": place}), ("undo", {"target": place})):
        told = str(press(which, **{"source": str(source), **places}))
        assert "is not a file or folder of this machine" in told, (which, places)


def test_what_a_client_sends_is_checked(source: Path, tmp_path: Path) -> None:
    """Unknown choices, sizes and halves of characters are sentences; what comes from files is text, not markup."""
    press = Pressed(PageContext())
    assert "tinv-problems" in press("check", source="")
    assert "tinv-problems" in press("check", source="a\0b")
    told = press("check", source=str(source), crop="<b>", width=7, target=str(tmp_path / "out"))
    assert "&lt;b&gt;" in told
    assert "must be a multiple" in told
    photo(3).save(source / "<img src=x>.png")
    assert "<img" not in press("check", source=str(source))


def test_one_preparation_at_a_time_and_its_end(source: Path, tmp_path: Path) -> None:
    """While one waits for its captioner, another is refused; Stop ends it after the image at hand."""
    at_work, go_on = threading.Event(), threading.Event()

    @contextmanager
    def slow() -> Iterator[CaptionOf]:
        def say(image: Image.Image) -> str:
            at_work.set()
            assert go_on.wait(60)
            return "a caption"

        yield say

    preparations = Preparations()
    press = Pressed(PageContext(captioners={"blip": slow}, preparations=preparations))
    answers = press("prepare", source=str(source), captioners=["blip"])
    assert "of 3 images done" in next(answers)[1]
    assert at_work.wait(60)
    ((refused, _),) = press("prepare", source=str(source), target=str(tmp_path / "out"))
    assert "A preparation is at work" in refused
    press.fns["stop"]()
    go_on.set()
    assert "done" in list(answers)[-1][1]
    assert content(source).keys() == {"a.png", "a.txt", "b.png", "c.png"} | (
        {"b.txt"} if preparations.progress and preparations.progress.done == 2 else set()
    )
    follow: Callable[..., Iterator[str]] = press.fns["follow"]
    assert len(list(follow(STRANGER))) == 1


def test_a_captioner_that_fails_is_told(source: Path) -> None:
    """With the image, after what was done."""

    @contextmanager
    def broken() -> Iterator[CaptionOf]:
        yield lambda image: str(1 / 0)

    press = Pressed(PageContext(captioners={"deepbooru": broken}))
    assert (
        "deepbooru failed on b.png (ZeroDivisionError"
        in list(press("prepare", source=str(source), captioners=["deepbooru"]))[-1][1]
    )
