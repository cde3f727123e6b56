"""What comes of a run with several words, in a real browser: every word can be chosen, used, downloaded and tried."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
from tests.ui.test_browser_live import opened, pytestmark, served  # noqa: F401
from tinv_ext.core.formats import read_embedding
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.server.job_queue import JobQueue


@pytest.fixture
def page(host: DiffusersHost, jobs: JobQueue, values: dict[str, Any], tmp_path: Path) -> Iterator[Any]:
    """The page of a finished run of two words."""
    folder = tmp_path / "others"
    folder.mkdir()
    Image.new("RGB", (64, 64), "yellow").save(folder / "0.png")
    tables = [{"name": "quixxly", "images": str(folder)}]
    several = {"words": json.dumps(tables), "save_every": 2, "evaluate_every": 2, "preview_at_first": False}
    job = jobs.submit({**values, "steps": 6, **several})
    assert jobs.wait(job, 120)
    with served(host, jobs) as address, opened(address, "en-US") as page:
        page.wait_for_selector(".tinv-is-finished")
        yield page


def test_the_second_word_is_chosen(page: Any, host: DiffusersHost) -> None:
    """By the keyboard; its file, curve and steps are shown, and what is done is done to it."""
    page.wait_for_selector(".tinv-file:has-text('zibbo.pt')")
    page.focus("#tinv_result_word")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector(".tinv-file:has-text('quixxly.pt')")
    assert page.locator(".tinv-decide .tinv-chart[aria-label='Loss by step of quixxly']").count() == 1
    before = read_embedding(host.embeddings_folder / "zibbo.pt").step
    holds = read_embedding(host.embeddings_folder / "quixxly.pt").step
    step = next(step for step in (2, 4) if step != holds)
    page.select_option(".tinv-decide .tinv-steps", str(step))
    page.click("#tinv_use")
    page.wait_for_selector(f".tinv-decide .tinv-said:has-text('quixxly.pt now holds step {step}.')")
    page.wait_for_selector(f".tinv-file:has-text('quixxly.pt (step {step})')")
    assert page.is_disabled("#tinv_use")
    assert read_embedding(host.embeddings_folder / "quixxly.pt").step == step
    assert read_embedding(host.embeddings_folder / "zibbo.pt").step == before

    with page.expect_download() as loaded:
        page.click(".tinv-decide button:text-is('Download this step')")
    assert loaded.value.suggested_filename == f"quixxly-{step}.pt"
    page.click(".tinv-try summary")
    assert page.input_value("#tinv_try_prompt") == "a photo of quixxly"
    page.click("#tinv_try")
    page.wait_for_function("document.querySelector('.tinv-tried')?.naturalWidth > 0")

    page.select_option("#tinv_result_word", "zibbo")
    page.wait_for_selector(".tinv-file:has-text('zibbo.pt')")
    assert page.input_value("#tinv_try_prompt") == "a photo of zibbo"
