"""A page that is older than the program that answers it."""

from __future__ import annotations

from typing import Any

from tests.ui.browser import fill, needs_chromium
from tests.ui.test_browser import address, jobs_home, page  # noqa: F401  (fixtures)

pytestmark = needs_chromium


def test_a_page_from_before_a_restart_says_so_and_is_reloaded_by_a_click(page: Any) -> None:  # noqa: F811
    """Without a click on Train, and what was typed is still there afterwards."""
    fill(page, "name", "zibbo")
    page.wait_for_selector("#tinv_verdict[data-state=free]")
    old = {"X-Tinv-Page": "of the program before"}
    page.route("**/tinv/v1/**", lambda route: route.continue_(headers={**route.request.headers, **old}))
    fill(page, "name", "zibbo-a")
    reload = page.wait_for_selector(".tinv-train > .tinv-problems:has-text('was restarted') >> text=Reload the page")
    told, images = (page.locator(f".tinv-train > {one}").bounding_box() for one in (".tinv-problems", ".tinv-dataset"))
    assert told["y"] + told["height"] <= images["y"]  # and not in place of them, where there are two columns
    page.unroute_all()
    page.wait_for_function("localStorage.getItem('tinv.train').includes('zibbo-a')")
    reload.click()
    page.wait_for_selector(".tinv-train > .tinv-problems", state="detached")
    page.wait_for_selector("#tinv_verdict[data-state=free]:has-text('zibbo-a')")
