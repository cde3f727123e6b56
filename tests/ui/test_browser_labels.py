"""The settings of the page, as they are laid out."""

from __future__ import annotations

from typing import Any

from tests.ui.browser import needs_chromium
from tests.ui.test_browser import address, jobs_home, page  # noqa: F401  (fixtures)

pytestmark = needs_chromium
COVERED = """() => [...document.querySelectorAll('#tinv_part_train .tinv-advanced .tinv-control')].filter((one) => {
    const label = one.querySelector('.tinv-label label'), field = one.querySelector('input, select, textarea');
    return label?.offsetParent && field && label.getBoundingClientRect().bottom > field.getBoundingClientRect().top + 1;
}).map((one) => one.dataset.setting)"""


def test_labels_of_two_lines_stand_above_their_fields(page: Any) -> None:  # noqa: F811
    """And not behind them, as in narrow columns."""
    page.set_viewport_size({"width": 1000, "height": 900})
    page.locator(".tinv-advanced").evaluate("(fold) => { fold.open = true; }")
    page.fill("#tinv_search", "save")
    page.wait_for_selector("[data-setting=save_every] label")
    assert page.locator("[data-setting=save_every] label").bounding_box()["height"] > 30
    assert page.evaluate(COVERED) == []
