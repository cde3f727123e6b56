"""The images of the page while files still come, and while nobody answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from tests.ui.browser import drop, fill, needs_chromium
from tests.ui.test_browser import address, jobs_home, page  # noqa: F401  (fixtures)

pytestmark = needs_chromium
FIGURES = "document.querySelector('.tinv-figures-line')?.textContent"
SOON = 8_000  # milliseconds: before the program is asked of the settings once more, whatever happens


def test_images_that_come_or_go_are_counted_beside_the_button_at_once(
    page: Any,  # noqa: F811
    values: dict[str, Any],
) -> None:
    """Where the number stood that the program had counted while the first of them were being sent."""
    page.route("**/images/upload**", lambda route: (page.wait_for_timeout(400), route.continue_()))
    drop(page, "[data-drop=new]", sorted(Path(values["images"]).iterdir()), "slow")
    page.wait_for_function(f"{FIGURES}?.startsWith('3 images')", timeout=SOON)
    page.click(".tinv-tile:first-child .tinv-remove")
    page.wait_for_function(f"{FIGURES}.startsWith('2 images')", timeout=SOON)


def test_a_caption_follows_an_image_whose_name_was_taken(page: Any, values: dict[str, Any], tmp_path: Path) -> None:  # noqa: F811
    """It does not become that of the image which has the name."""
    folder, new = Path(values["images"]), tmp_path / "new"
    first = sorted(folder.iterdir())[0]
    new.mkdir()
    Image.new("RGB", (90, 90), (7, 99, 7)).save(new / first.name)
    (new / f"{first.stem}.txt").write_text("a green thing", "utf-8")
    fill(page, "images", values["images"])
    page.wait_for_function("document.querySelectorAll('.tinv-tile img').length === 3")
    drop(page, "[data-drop=add]", [new / f"{first.stem}.txt", new / first.name])
    page.wait_for_function("document.querySelectorAll('.tinv-tile img').length === 4")
    page.wait_for_function(
        "[...document.querySelectorAll('.tinv-tile textarea')].some((one) => one.value === 'a green thing')"
    )
    assert (folder / f"{first.stem} (2).txt").read_text("utf-8").strip() == "a green thing"
    assert not (folder / f"{first.stem}.txt").exists()


def test_an_image_that_is_deleted_elsewhere_goes_from_the_page(page: Any, values: dict[str, Any]) -> None:  # noqa: F811
    """As soon as the program counts one less."""
    fill(page, "images", values["images"])
    page.wait_for_function("document.querySelectorAll('.tinv-tile img').length === 3")
    page.wait_for_function(f"{FIGURES}?.startsWith('3 images')")
    page.wait_for_selector(".tinv-counts:not(:has-text('looked at'))")
    sorted(Path(values["images"]).iterdir())[0].unlink()
    page.wait_for_function("document.querySelectorAll('.tinv-tile').length === 2", timeout=20_000)
    assert "2 images" in page.inner_text(".tinv-counts")


def test_images_are_still_there_when_nobody_has_answered(page: Any, values: dict[str, Any]) -> None:  # noqa: F811
    """What is typed meanwhile stays too, it is said that it was not saved, and the page asks again by itself."""
    fill(page, "images", values["images"])
    page.wait_for_function("document.querySelectorAll('.tinv-tile img').length === 3")
    page.wait_for_selector(".tinv-counts:not(:has-text('looked at'))")
    caption = page.locator(".tinv-tile:first-child textarea")
    page.context.set_offline(True)
    caption.fill("a thing of mine")
    caption.press("Enter")
    page.wait_for_selector(".tinv-dataset .tinv-problems:has-text('does not answer')")
    assert page.locator(".tinv-tile").count() == 3
    page.context.set_offline(False)
    page.wait_for_selector(".tinv-dataset .tinv-problems:has-text('does not answer')", state="detached")
    assert caption.input_value() == "a thing of mine"
    assert "may not have been made" in page.inner_text(".tinv-dataset .tinv-problems")
    caption.focus()
    caption.press("Enter")
    page.wait_for_selector(".tinv-undo")
    page.wait_for_selector(".tinv-dataset .tinv-problems", state="detached")


def test_a_mask_that_could_not_be_saved_is_not_lost(page: Any, values: dict[str, Any]) -> None:  # noqa: F811
    """Nor one that Escape is pressed at, however often."""
    fill(page, "images", values["images"])
    page.click(".tinv-tile:first-child [aria-label^='Mask of']")
    page.wait_for_function("document.querySelector('.tinv-painting canvas').width === 64")
    box = page.locator(".tinv-painting canvas").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 20, steps=4)
    page.mouse.up()
    for _ in range(4):
        page.keyboard.press("Escape")
    page.wait_for_selector(".tinv-mask >> text=The mask is not saved yet.")
    save = page.locator(".tinv-mask .tinv-primary")
    page.context.set_offline(True)
    save.click()
    page.wait_for_selector(".tinv-mask .tinv-problems:has-text('may not have been made')")
    page.context.set_offline(False)
    save.click()
    page.wait_for_selector(".tinv-mask", state="detached")
    page.wait_for_selector(".tinv-tile:first-child:has-text('has a mask')")
