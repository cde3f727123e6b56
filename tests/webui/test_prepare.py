"""The part "Prepare" in the real WebUI: captions by its own BLIP and DeepBooru code, with random weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.prepare.pictures import photo
from tests.webui.browser import WORK, Tab
from tests.webui.server import WebUI

pytestmark = pytest.mark.webui
LIKELY = 6  # tags that pass the threshold


@pytest.fixture(scope="module")
def source(webui: WebUI) -> Path:
    """Three images that are as large as the new ones will be, two of them captioned; the models are in place."""
    folder = webui.data / "to_prepare"
    folder.mkdir()
    for index in range(3):
        photo(index, 256, 256).save(folder / f"{index}.png")
    (folder / "0.txt").write_text("my own words", "utf-8")
    (folder / "1.txt").write_text("others", "utf-8")
    webui.inside("random_interrogators", folder=str(webui.data))
    return folder


@pytest.fixture(scope="module")
def scores(webui: WebUI, source: Path) -> dict[str, float]:
    """DeepBooru's probabilities for the last image."""
    found: dict[str, float] = webui.inside("interrogated", path=str(source / "2.png"))["scores"]
    return found


def options(webui: WebUI, **changes: Any) -> None:
    """Change the WebUI's settings, as its Settings page does."""
    webui.post("/sdapi/v1/options", changes)


def fill(page: Tab, name: str, value: Any) -> None:
    """Type into a control of the part."""
    page.page.fill(f"#tinv_prepare_{name}", str(value))


def press(page: Tab, button: str, place: str, text: str) -> None:
    """Click, and wait until a place says something."""
    page.click(button)
    page.wait(f"(document.querySelector('#{place}') || {{}}).textContent?.includes({text!r})", WORK)


def test_both_caption_the_new_images(webui: WebUI, page: Tab, source: Path) -> None:
    """Tags, then the sentence, each as the WebUI's own code says them of the very image that was written."""
    out = webui.data / "prepared"
    options(webui, interrogate_deepbooru_score_threshold=0.5, deepbooru_sort_alpha=False)
    page.page.click(".tab-nav button:has-text('Prepare') >> visible=true")
    fill(page, "source", source)
    fill(page, "target", out)
    fill(page, "width", 256)
    fill(page, "height", 256)
    for name in ("blip", "deepbooru"):
        page.page.locator(f"#tinv_prepare_captioners label:has-text('{name}') input").set_checked(True)
    page.page.select_option("#tinv_prepare_existing_captions", label="replace them")
    press(page, "tinv_prepare", "tinv_prepare_progress", "Done: 3 images and 3 captions")
    page.keep("prepare")
    captions = []
    for index in range(3):
        made = out / f"0000{index}-0-{index}.png"
        with Image.open(made) as image, Image.open(source / f"{index}.png") as before:
            assert image.tobytes() == before.tobytes()
        told = webui.inside("interrogated", path=str(made))
        parts = [told["deepbooru"], told["blip"].strip()]
        captions.append(made.with_suffix(".txt").read_text("utf-8"))
        assert captions[-1] == ", ".join(part for part in parts if part)
        assert told["blip"].strip()
    assert (source / "0.txt").read_text("utf-8") == "my own words"
    press(page, "tinv_prepare_undo", "tinv_prepare_answer", "Undone: 6 files removed")
    assert not out.exists()


SETTINGS: dict[str, dict[str, Any]] = {
    "by score": {"deepbooru_sort_alpha": False, "deepbooru_use_spaces": True, "deepbooru_escape": True},
    "by name": {"deepbooru_sort_alpha": True, "deepbooru_use_spaces": False, "deepbooru_escape": False},
}


@pytest.mark.parametrize("chosen", SETTINGS.values(), ids=SETTINGS)
def test_tags_follow_the_settings_page(
    webui: WebUI, page: Tab, source: Path, scores: dict[str, float], chosen: dict[str, Any]
) -> None:
    """Threshold, order, spaces, escapes and filter, reckoned from the model's own probabilities; captions in place.

    The two that are captioned are kept, as "keep" says; undo takes the third away.
    """
    ranked = sorted((tag for tag in scores if not tag.startswith("rating:")), key=lambda tag: -scores[tag])
    threshold = (scores[ranked[LIKELY - 1]] + scores[ranked[LIKELY]]) / 2
    filtered = ranked[1]
    options(webui, interrogate_deepbooru_score_threshold=threshold, deepbooru_filter_tags=filtered, **chosen)
    wanted = [tag for tag in ranked[:LIKELY] if tag != filtered]
    if chosen["deepbooru_sort_alpha"]:
        wanted.sort()
    if chosen["deepbooru_use_spaces"]:
        wanted = [tag.replace("_", " ") for tag in wanted]
    if chosen["deepbooru_escape"]:
        wanted = [re.sub(r"([\\()])", r"\\\1", tag) for tag in wanted]
    page.open()
    page.page.click(".tab-nav button:has-text('Prepare') >> visible=true")
    fill(page, "source", source)
    fill(page, "target", "")
    for name, on in (("deepbooru", True), ("blip", False)):
        page.page.locator(f"#tinv_prepare_captioners label:has-text('{name}') input").set_checked(on)
    page.page.select_option("#tinv_prepare_existing_captions", label="keep them")
    press(page, "tinv_prepare", "tinv_prepare_progress", "Done: 0 images and 1 caption")
    assert (source / "2.txt").read_text("utf-8") == ", ".join(wanted)
    assert (source / "0.txt").read_text("utf-8") == "my own words"
    press(page, "tinv_prepare_undo", "tinv_prepare_answer", "Undone: 1 file removed")
    assert not (source / "2.txt").exists()
    assert page.errors == []
