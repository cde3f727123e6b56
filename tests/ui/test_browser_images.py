"""The images of the page while files still come, and while nobody answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
