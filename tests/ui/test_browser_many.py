"""Very many images on the page: sent, told of, and scrolled through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.ui.browser import drop, fill, needs_chromium
from tests.ui.test_browser import address, jobs_home, page  # noqa: F401  (fixtures)

pytestmark = [needs_chromium, pytest.mark.once]
COUNT = 300
SHOWN = "document.querySelectorAll('.tinv-tile').length"


@pytest.fixture
def many(tmp_path: Path) -> list[Path]:
    """Small images of noise, and one file that is none."""
    folder, noise = tmp_path / "many", np.random.default_rng(0)
    folder.mkdir()
    for number in range(COUNT):
        Image.fromarray(noise.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / f"{number:04}.png")
    (folder / "0100 broken.png").write_bytes(b"no image")
    return sorted(folder.iterdir())


def test_hundreds_of_images_are_dropped_and_looked_through(page: Any, jobs_home: Path, many: list[Path]) -> None:  # noqa: F811
    """All arrive but the one that cannot be used, which is named; the page has those near what is in sight."""
    drop(page, "[data-drop=new]", many, "many")
    page.wait_for_selector(".tinv-sending progress")
    page.wait_for_selector(".tinv-left-out", timeout=120_000)
    assert "0100 broken.png" in page.inner_text(".tinv-left-out")
    page.wait_for_function(f"document.querySelector('.tinv-counts').textContent.includes('{COUNT} images')")
    assert len(list(Path(page.input_value("#tinv_images")).glob("*.png"))) == COUNT
    page.wait_for_selector("[data-image='0000.png'] img")
    assert page.evaluate(SHOWN) < COUNT
    page.evaluate(
        "(() => { const grid = document.querySelector('.tinv-grid'); grid.scrollTop = grid.scrollHeight; })()"
    )
    last = page.wait_for_selector(f"[data-image='{COUNT - 1:04}.png'] img")
    last.scroll_into_view_if_needed()
    page.wait_for_function(f"document.querySelector('[data-image=\"{COUNT - 1:04}.png\"] img').naturalWidth === 64")
    page.wait_for_selector("[data-image='0000.png']", state="detached")
    page.fill(f"[data-image='{COUNT - 1:04}.png'] textarea", "the last one")
    page.press(f"[data-image='{COUNT - 1:04}.png'] textarea", "Enter")
    page.wait_for_selector(".tinv-undo")
    caption = Path(page.input_value("#tinv_images")) / f"{COUNT - 1:04}.txt"
    assert caption.read_text("utf-8") == "the last one\n"
    page.click(f"[data-image='{COUNT - 1:04}.png'] .tinv-tools button:last-child")
    page.wait_for_function(f"document.querySelector('.tinv-counts').textContent.includes('{COUNT - 1} images')")
    page.wait_for_selector(f"[data-image='{COUNT - 1:04}.png']", state="detached")


def test_those_that_need_a_look_are_shown_alone(page: Any, many: list[Path]) -> None:  # noqa: F811
    """By a click on their number, whichever page of the folder they are on."""
    many[250].write_bytes(b"no image, either")
    fill(page, "images", str(many[0].parent))
    page.wait_for_selector(".tinv-odd:has-text('2 need a look')")
    page.click(".tinv-odd")
    page.wait_for_function(f"{SHOWN} === 2")
    assert page.locator(".tinv-tile.tinv-unusable").count() == 2
    page.click(".tinv-odd")
    page.wait_for_function(f"{SHOWN} > 2")
