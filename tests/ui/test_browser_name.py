"""A word that is trained again under its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.ui.browser import fill, needs_chromium
from tests.ui.test_browser import address, jobs_home, page  # noqa: F401  (fixtures)
from tinv_ext.hosts.diffusers.host import DiffusersHost

pytestmark = needs_chromium


def test_a_word_is_trained_again_by_two_clicks(
    page: Any,  # noqa: F811
    values: dict[str, Any],
    host: DiffusersHost,
) -> None:
    """Refused first, as nothing is replaced unasked; then what becomes of the old file is said beside the name."""
    for name in ("name", "images", "output", "steps"):
        fill(page, name, str(values[name]))
    fill(page, "preview_every", "0")
    page.click("#tinv_train")
    page.wait_for_selector(".tinv-is-finished")
    before = (host.embeddings_folder / f"{values['name']}.pt").read_bytes()
    fill(page, "steps", str(values["steps"] + 1))
    page.wait_for_selector("#tinv_verdict[data-state=empty]")  # that there is one now is no mistake yet
    page.click("#tinv_train")
    page.wait_for_selector("#tinv_answer .tinv-problems")
    page.wait_for_selector("#tinv_verdict[data-state=bad]")
    page.click("#tinv_replace")
    page.wait_for_selector("#tinv_verdict[data-state=warning]:has-text('keeps the old file')")
    page.wait_for_selector("#tinv_answer .tinv-problems", state="detached")
    page.click("#tinv_train")
    page.wait_for_function(f"/step {values['steps'] + 1} of/.test(document.querySelector('.tinv-figures').textContent)")
    page.wait_for_selector(".tinv-is-finished")
    (kept,) = Path(values["output"]).rglob("replaced/*.pt")
    assert kept.read_bytes() == before
