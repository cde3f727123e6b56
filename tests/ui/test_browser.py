"""The page in a real browser: a run from its start to its end, seen and steered as a person does."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.ui.browser import PATIENCE, drop, fill, needs_chromium, opened, serving
from tests.ui.test_image_routes import figure
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import DEFAULTS, SETTINGS
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.server.image_sets import FOLDER
from tinv_ext.server.job_workers import Workers
from tinv_ext.standalone import app_for

pytestmark = needs_chromium


@pytest.fixture
def jobs_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of the page's server, which is started there."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def address(host: DiffusersHost, jobs_home: Path) -> Iterator[str]:
    """The page's server."""
    with serving(lambda: app_for(host)) as address:
        yield address


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    """The page for somebody who reads English."""
    with opened(address, "en-US") as page:
        yield page


def test_a_folder_is_dropped_and_trained_by_four_actions(
    page: Any, jobs_home: Path, values: dict[str, Any], host: DiffusersHost
) -> None:
    """Drop, name, Train (and a purpose, where another is meant); a reload finds fields and run again; Stop saves."""
    files = sorted(Path(values["images"]).iterdir())
    drop(page, "[data-drop=new]", files, "小猫")
    page.wait_for_function("document.querySelectorAll('.tinv-tile img').length === 3")
    assert Path(page.input_value("#tinv_images")) == jobs_home / FOLDER / "小猫"
    fill(page, "name", "zibbo")
    page.wait_for_selector("#tinv_verdict[data-state=free]")
    page.click("#tinv_train")
    page.wait_for_selector("#tinv_answer .tinv-said")
    page.wait_for_selector(".tinv-chart canvas")
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector("#tinv_train")
    assert page.input_value("#tinv_name") == "zibbo"
    page.wait_for_function("document.querySelectorAll('.tinv-tile img').length === 3")
    page.wait_for_function("/step [1-9]/.test(document.querySelector('.tinv-figures')?.textContent)", timeout=PATIENCE)
    page.click("#tinv_stop")
    page.wait_for_selector(".tinv-is-stopped")
    assert read_embedding(host.embeddings_folder / "zibbo.pt").step > 0


def test_a_run_is_started_watched_and_stopped(page: Any, values: dict[str, Any], host: DiffusersHost) -> None:
    """Name, folder, Train: a bar, a curve, a picture when asked for; a reload finds it again; Stop and save saves."""
    fill(page, "name", "zibbo")
    fill(page, "images", values["images"])
    fill(page, "output", values["output"])
    fill(page, "steps", "100000")
    fill(page, "preview_steps", "2")
    page.click("#tinv_check")
    page.wait_for_selector("#tinv_answer .tinv-training-prompts mark")
    assert "zibbo" in page.inner_text("#tinv_answer mark >> nth=0")
    page.wait_for_function("/about/.test(document.querySelector('.tinv-figures-line').textContent)")
    page.click("#tinv_train")
    page.wait_for_selector(".tinv-chart canvas")
    page.wait_for_function("/step [1-9]/.test(document.querySelector('.tinv-figures')?.textContent)", timeout=PATIENCE)
    page.click("#tinv_preview")
    page.wait_for_selector(".tinv-previews img")
    page.wait_for_function("document.querySelector('.tinv-previews img').naturalWidth === 64", timeout=PATIENCE)

    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".tinv-chart canvas")
    assert page.inner_text(".tinv-name") == "zibbo"
    page.wait_for_selector(".tinv-is-training")
    page.wait_for_selector("#tinv_train")
    fill(page, "steps", "100000")
    assert page.input_value("#tinv_preview_steps, #tinv_steps") == "100000"

    page.click("#tinv_stop")
    page.wait_for_selector(".tinv-is-stopped")
    shown = re.search(r"step (\d+) of 100000", page.inner_text(".tinv-figures"))
    assert shown
    assert read_embedding(host.embeddings_folder / "zibbo.pt").step == int(shown.group(1))

    page.click("#tinv_resume")
    page.wait_for_selector(".tinv-is-training")
    page.click("#tinv_stop")
    page.wait_for_selector(".tinv-is-stopped")
    assert read_embedding(host.embeddings_folder / "zibbo.pt").step > int(shown.group(1))


def test_a_run_that_no_thread_has_taken_up_yet_is_brought_into_sight(
    page: Any, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train at the end of a long page, far from where runs are shown, on a machine that is busy."""
    wake = Workers.wake

    def wake_now(workers: Workers, device: str) -> None:
        with workers._changed:
            wake(workers, device)

    monkeypatch.setattr(Workers, "wake", lambda *given: threading.Timer(2, wake_now, given).start())
    fill(page, "name", "zibbo")
    fill(page, "images", values["images"])
    fill(page, "output", values["output"])
    fill(page, "steps", "2")
    page.click("#tinv_train")
    page.wait_for_selector("#tinv_live .tinv-is-queued")
    page.wait_for_function("document.querySelector('#tinv_live').getBoundingClientRect().bottom > 0")
    page.wait_for_selector("#tinv_live .tinv-is-finished")


def test_what_is_wrong_is_told_and_markup_stays_text(page: Any, values: dict[str, Any]) -> None:
    """Every problem in the page; a caption with a script in it is shown as letters and does nothing."""
    evil = "<img src=x onerror=\"document.title='caught'\">"
    (Path(values["images"]) / "0.txt").write_text(evil, encoding="utf-8")
    fill(page, "name", "zibbo")
    fill(page, "template", "subject_filewords")
    fill(page, "images", "nowhere<b>")
    page.click("#tinv_check")
    page.wait_for_selector("#tinv_answer .tinv-problems")
    assert 'The image folder "nowhere<b>" does not exist' in page.inner_text("#tinv_answer")
    fill(page, "images", values["images"])
    page.wait_for_selector("#tinv_answer .tinv-problems", state="detached")  # said of what was there then
    page.click("#tinv_check")
    page.wait_for_selector("#tinv_answer .tinv-training-prompts")
    assert evil in page.inner_text("#tinv_answer")
    assert page.query_selector("#tinv_answer img") is None
    assert page.input_value("[data-image='0.png'] textarea") == evil
    assert page.title() != "caught"


def test_images_are_captioned_turned_and_removed_in_place(page: Any, values: dict[str, Any]) -> None:
    """Each change is saved beside the image at once, and undone."""
    folder = Path(values["images"])
    fill(page, "images", str(folder))
    page.wait_for_selector("[data-image='1.png'] img")
    page.fill("[data-image='1.png'] textarea", "a cat 猫")
    with page.expect_response("**/images/caption*"):  # "Undo" is there as soon as the change has begun
        page.press("[data-image='1.png'] textarea", "Enter")
    page.wait_for_selector(".tinv-undo")
    assert (folder / "1.txt").read_text("utf-8") == "a cat 猫\n"
    page.click("[data-image='1.png'] .tinv-tools button:last-child")
    page.wait_for_function("document.querySelectorAll('.tinv-tile').length === 2")
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["0.png", "2.png"]
    page.click(".tinv-undo")
    page.wait_for_function("document.querySelectorAll('.tinv-tile').length === 3")
    page.click(".tinv-undo")
    page.wait_for_selector(".tinv-undo", state="detached")
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["0.png", "1.png", "2.png"]


def test_the_keyboard_passes_over_images_and_stays_among_them(page: Any, values: dict[str, Any]) -> None:
    """One button skips their many controls; where one is removed, the next one has the focus."""
    fill(page, "images", values["images"])
    page.wait_for_selector("[data-image='1.png'] img")
    tile = page.locator(".tinv-tile >> nth=0")
    before = tile.bounding_box()
    page.focus(".tinv-grid")
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip the images"
    assert page.locator(":focus").bounding_box()["width"] > 50
    assert tile.bounding_box() == before, (
        "a click elsewhere takes it from sight, and must still meet what it was meant for"
    )
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "tinv_name"
    for image, left, next_one in (("1", 2, "2"), ("2", 1, "0")):
        page.focus(f"[data-image='{image}.png'] .tinv-tools button:last-child")
        page.keyboard.press("Enter")
        page.wait_for_function("(left) => document.querySelectorAll('.tinv-tile').length === left", arg=left)
        page.wait_for_function(
            "(name) => document.activeElement.closest('.tinv-tile')?.dataset.image === name", arg=f"{next_one}.png"
        )


def test_a_background_that_all_images_have_is_masked(page: Any, tmp_path: Path) -> None:
    """It is told above the images, with a button; what it has made can be painted on, proposed again, and undone."""
    folder = tmp_path / "figures"
    folder.mkdir()
    for number in range(4):
        figure(number).save(folder / f"{number}.png")
    mask = folder / "1-masklabel.png"
    fill(page, "images", str(folder))
    page.click("#tinv_mask_backgrounds")
    page.wait_for_selector("[data-image='1.png']:has-text('has a mask')")
    page.wait_for_function("document.querySelector(\"[data-image='1.png'] .tinv-left-dark\").naturalWidth > 0")
    assert len(list(folder.glob("*-masklabel.png"))) == 4
    assert (at(mask, 5, 5), at(mask, 100, 100)) == (0, 255)
    assert page.is_checked("#tinv_use_masks")
    page.wait_for_selector("#tinv_mask_backgrounds", state="detached")
    page.click("[data-image='1.png'] [aria-label='Mask of 1.png']")
    page.wait_for_function(PAINTED)
    page.click(".tinv-mask button:has-text('Clear')")
    page.wait_for_function(f"!({PAINTED})")
    page.click(".tinv-mask button:has-text('Leave out the background')")
    page.wait_for_function(PAINTED)
    page.click(".tinv-mask button:has-text('Save')")
    page.wait_for_selector(".tinv-mask", state="detached")
    assert (at(mask, 5, 5), at(mask, 100, 100)) == (0, 255)
    page.click(".tinv-undo")
    until(lambda: len(list(folder.glob("*-masklabel.png"))) == 4)
    page.click(".tinv-undo")
    page.wait_for_selector("#tinv_mask_backgrounds")
    until(lambda: not list(folder.glob("*-masklabel.png")))  # the button is there again as soon as the first is gone
    page.click("#tinv_use_masks")  # what the button has turned on can be turned off where it was
    page.wait_for_selector("#tinv_use_masks", state="detached")


PAINTED = (
    "[...document.querySelectorAll('.tinv-painting canvas')].some((one) => one.width === 200 &&"
    " one.getContext('2d').getImageData(5, 5, 1, 1).data[3] > 200 &&"
    " one.getContext('2d').getImageData(100, 100, 1, 1).data[3] < 50)"
)


def test_a_mask_is_painted_over_an_image(page: Any, values: dict[str, Any]) -> None:
    """With the pointer, erased again in part, inverted; saved beside the image, used by the run, and undone."""
    folder = Path(values["images"])
    mask = folder / "1-masklabel.png"
    fill(page, "images", str(folder))
    page.click("[data-image='1.png'] [aria-label='Mask of 1.png']")
    page.wait_for_function("document.querySelector('.tinv-painting canvas').width !== 300")  # a canvas's own width
    box = page.locator(".tinv-painting canvas").bounding_box()
    around = page.locator("dialog.tinv-mask").bounding_box()
    assert (round(box["width"]), abs(around["y"] + around["height"] / 2 - 500) < 5) == (400, True), (
        "large, in the middle"
    )

    def stroke(height: float) -> None:
        page.mouse.move(box["x"] + 2, box["y"] + height * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 2, box["y"] + height * box["height"], steps=4)
        page.mouse.up()

    page.fill(".tinv-mask input[type=range]", "30")
    stroke(0.2)
    stroke(0.8)
    page.click(".tinv-mask button:has-text('Erase')")
    stroke(0.8)
    page.click(".tinv-mask button:has-text('Save')")
    page.wait_for_selector("[data-image='1.png']:has-text('has a mask')")
    with Image.open(folder / "1.png") as image, Image.open(mask) as painted:
        assert painted.size == image.size
        middle, high = image.width // 2, image.height
        assert [painted.getpixel((middle, int(share * high))) for share in (0.2, 0.5, 0.8)] == [0, 255, 255]
    assert page.is_checked("#tinv_use_masks")
    page.click("[data-image='1.png'] [aria-label='Mask of 1.png']")
    page.wait_for_function(
        "[...document.querySelectorAll('.tinv-painting canvas')].some((one) => one.width !== 300 &&"
        " one.getContext('2d').getImageData(one.width / 2, one.height / 5, 1, 1).data[3] > 200)"
    )
    page.click(".tinv-mask button:has-text('Invert')")
    page.click(".tinv-mask button:has-text('Save')")
    page.wait_for_selector(".tinv-mask", state="detached")
    until(lambda: at(mask, middle, high // 5) == 255)
    assert at(mask, middle, high // 2) == 0
    page.click(".tinv-undo")
    until(lambda: at(mask, middle, high // 5) == 0)
    page.click(".tinv-undo")
    page.wait_for_selector("[data-image='1.png']:has-text('has a mask')", state="detached")
    assert not mask.exists()


def test_a_painted_mask_is_not_lost_by_escape(page: Any, values: dict[str, Any]) -> None:
    """Escape and Close ask first, and close at once where nothing was painted."""
    mask = Path(values["images"]) / "1-masklabel.png"
    fill(page, "images", values["images"])
    page.click("[data-image='1.png'] [aria-label='Mask of 1.png']")
    page.wait_for_function("document.querySelector('.tinv-painting canvas').width !== 300")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.tinv-mask", state="detached")
    page.click("[data-image='1.png'] [aria-label='Mask of 1.png']")
    page.wait_for_function("document.querySelector('.tinv-painting canvas').width !== 300")
    page.click(".tinv-painting canvas")
    for leave in (lambda: page.keyboard.press("Escape"), lambda: page.click(".tinv-mask button:text-is('Close')")):
        leave()
        page.wait_for_selector(".tinv-mask [role=alert]:has-text('The mask is not saved yet.')")
        page.click(".tinv-mask button:has-text('Keep painting')")
    page.click(".tinv-mask button:text-is('Close')")
    page.click(".tinv-mask button:has-text('Save')")
    until(mask.exists)
    page.wait_for_selector("[data-image='1.png']:has-text('has a mask')")
    page.click("[data-image='1.png'] [aria-label='Mask of 1.png']")
    page.wait_for_function("document.querySelector('.tinv-painting canvas').width !== 300")
    page.click(".tinv-mask button:has-text('Invert')")
    page.keyboard.press("Escape")
    page.click(".tinv-mask button:has-text('Discard the changes')")
    page.wait_for_selector("dialog.tinv-mask", state="detached")
    assert at(mask, 1, 1) == 255


def at(file: Path, left: int, top: int) -> Any:
    """A pixel of an image file."""
    with Image.open(file) as image:
        return image.getpixel((left, top))


def until(true: Callable[[], bool]) -> None:
    """Wait for it, ten seconds at most."""
    for _ in range(100):
        if true():
            return
        time.sleep(0.1)
    assert true()


def test_dropped_files_that_are_no_images_are_named_and_the_rest_is_kept(
    page: Any, jobs_home: Path, values: dict[str, Any], tmp_path: Path
) -> None:
    """One by one; and more can be added to what is there."""
    odd = [tmp_path / "notes.pdf", tmp_path / "<b>猫.png"]
    for path in odd:
        path.write_bytes(b"no image")
    first, *others = sorted(Path(values["images"]).iterdir())
    drop(page, "[data-drop=new]", [first, *odd])
    page.wait_for_selector(".tinv-left-out li >> nth=1")
    told = page.inner_text(".tinv-left-out")
    assert all(path.name in told for path in odd)
    page.wait_for_selector("[data-drop=add]")
    drop(page, "[data-drop=add]", others)
    page.wait_for_function("document.querySelectorAll('.tinv-tile img').length === 3")
    folder = Path(page.input_value("#tinv_images"))
    assert sorted(path.name for path in folder.iterdir()) == ["0.png", "1.png", "2.png"]


def test_a_folder_is_browsed_for(page: Any, values: dict[str, Any], tmp_path: Path) -> None:
    """From what is in the field, down, and taken."""
    fill(page, "images", str(tmp_path))
    page.click("[data-setting=images] .tinv-button")
    page.click(".tinv-folders .tinv-list button:has-text('pictures')")
    page.wait_for_function("/pictures/.test(document.querySelector('.tinv-where').textContent)")
    page.click(".tinv-folders .tinv-primary")
    assert page.input_value("#tinv_images") == values["images"]
    page.wait_for_selector(".tinv-tile img")


def test_settings_are_found_by_search_and_told_what_is_wrong(page: Any) -> None:
    """By the words of label and help; a value that cannot be is told beside its field, and taken back by a click."""
    fill(page, "batch_size", "0")
    page.wait_for_selector("[data-setting=batch_size] .tinv-wrong")
    page.click("[data-setting=batch_size] .tinv-reset")
    page.wait_for_selector("[data-setting=batch_size] .tinv-wrong", state="detached")
    assert page.input_value("#tinv_batch_size") == str(DEFAULTS["batch_size"])
    page.fill("#tinv_search", "CFG")
    page.wait_for_selector("#tinv_found [data-setting=preview_cfg_scale]")
    page.fill("#tinv_search", "")
    page.click("#tinv_all_settings")
    shown = page.locator(".tinv-advanced [data-setting]").count()
    assert shown + page.locator(".tinv-train [data-setting]:not(.tinv-advanced *)").count() == len(SETTINGS)


def test_a_template_is_written_and_chosen(page: Any, values: dict[str, Any]) -> None:
    """Open one, change it, save it under another name: it is chosen, and the prompts are made of it."""
    fill(page, "name", "zibbo")
    fill(page, "images", values["images"])
    page.click("#tinv_advanced")
    page.click("#tinv_group_images > summary")
    page.click("#tinv_templates > summary")
    page.click("[data-template=subject]")
    page.wait_for_function("/\\[name\\]/.test(document.querySelector('#tinv_lines').value)")
    page.fill("#tinv_lines", "an etching of [name]")
    page.fill("#tinv_lines_name", "etching")
    page.click("#tinv_lines_save")
    page.wait_for_function("/etching/.test(document.querySelector('#tinv_lines_answer').textContent)")
    assert page.input_value("#tinv_template") == "etching"
    page.click("#tinv_check")
    page.wait_for_selector("#tinv_answer .tinv-training-prompts")
    assert "an etching of zibbo" in page.inner_text("#tinv_answer")
    assert "The gradient reaches the vectors" in page.inner_text("#tinv_answer")
