"""The page as a browser shows it to somebody who reads Chinese: labels, answers and the live part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.ui.browser import fill, needs_chromium, opened
from tests.ui.test_browser import address, jobs_home  # noqa: F401  (fixtures)
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats import write_embedding
from tinv_ext.core.messages import templates
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.language import page_labels

pytestmark = [needs_chromium, pytest.mark.once]
LABELS = page_labels("zh_CN")
SENTENCES = templates("zh_CN")
# All texts of the page but prompts and captions, which people write, and values of fields.
SHOWN = """() => {
    const ours = '.tinv-prompts, .tinv-previews th[scope=row], #tinv_answer ol, .tinv-tile textarea, [data-template]';
    const apart = ours + ', script, style, footer, ul.options';
    const page = document.querySelector('.gradio-container'), found = [];
    const walk = document.createTreeWalker(page, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        if (!walk.currentNode.parentNode.closest(apart)) found.push(walk.currentNode.textContent.trim());
    }
    for (const node of page.querySelectorAll('[placeholder]')) found.push(node.placeholder);
    return found.filter(Boolean);
}"""
COMMAND = "hf auth login"  # to be typed as it stands
ENGLISH = re.compile(r"[A-Za-z']+ [a-z']+ [a-z']+")  # three words in a row: names and values have fewer


@pytest.fixture
def page(address: str) -> Iterator[Any]:  # noqa: F811
    """The page for somebody who reads Chinese."""
    with opened(address, "zh-CN") as page:
        shows(page, "#tinv_live", SENTENCES["ui.no_run_yet"])
        yield page


def shows(page: Any, place: str, text: str) -> None:
    """Wait until a place of the page has a text."""
    page.wait_for_function(
        "([place, text]) => document.querySelector(place)?.textContent.includes(text)", arg=[place, text]
    )


def english(page: Any) -> list[str]:
    """What of the page is in English."""
    shown = page.evaluate(SHOWN)
    return [text for text in shown if text in LABELS or ENGLISH.search(text.replace(COMMAND, ""))]


def test_labels_are_chinese_without_a_webui(page: Any) -> None:
    """Fields, buttons, folds, explanations, choices and placeholders; a choice is still sent by its own name."""
    page.wait_for_selector("#tinv_train")
    page.locator(".tinv-advanced").evaluate("(fold) => { fold.open = true; }")
    page.click("#tinv_all_settings")
    assert english(page) == []
    shown = set(page.evaluate(SHOWN))
    assert {LABELS[text] for text in ("Train", "Embeddings", "Runs", "Seed", "norm")} <= shown
    page.fill("#tinv_search", "clip_mode")
    page.select_option("#tinv_clip_mode", label=LABELS["norm"])
    assert page.input_value("#tinv_clip_mode") == "norm"


def test_a_run_is_told_in_chinese(page: Any, values: dict[str, Any]) -> None:
    """From Train to Resume: title, figures, chart, notices, answers."""
    folder = Path(values["images"])
    (folder / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (20, 20)).save(folder / "small.png")
    page.click("#tinv_check")
    page.wait_for_selector("#tinv_answer .tinv-problems")
    assert english(page) == []
    fill(page, "name", "zibbo")
    fill(page, "images", values["images"])
    fill(page, "output", values["output"])
    page.wait_for_selector(".tinv-tile .tinv-wrong")
    fill(page, "steps", "100000")
    page.click("#tinv_check")
    shows(page, "#tinv_answer", SENTENCES["train.ready"])
    assert english(page) == []
    page.click("#tinv_train")
    page.wait_for_function("/第 [1-9][0-9]* 步/.test(document.querySelector('.tinv-figures')?.textContent)")
    shows(page, ".tinv-chart", SENTENCES["live.smoothed"])
    assert english(page) == []
    page.click("#tinv_stop")
    shows(page, ".tinv-title", SENTENCES["ui.stopped"])


def test_embeddings_are_told_in_chinese(page: Any, host: DiffusersHost) -> None:
    """The list, one that cannot be read, what is known of one, and what cannot be done."""
    folder = host.embeddings_folder
    folder.mkdir(parents=True)
    write_embedding(Embedding("felix", {"clip_l": torch.ones(2, 32)}, 7, "tiny", "abc"), folder / "felix.pt")
    write_embedding(Embedding("wide", {"clip_l": torch.ones(2, 768)}, 3), folder / "wide.pt")
    (folder / "broken.pt").write_bytes(b"no embedding")
    page.click("button[role=tab]:nth-of-type(3), .tab-nav button:nth-of-type(3)")
    for name in ("felix", "wide", "broken"):
        page.click(f".tinv-embeddings .tinv-card > button:has(.tinv-name:text-is('{name}'))")
        page.wait_for_selector(".tinv-about .tinv-norm" if name != "broken" else ".tinv-about .tinv-problems")
        assert english(page) == []
    page.click(f".tinv-changes button:text-is('{SENTENCES['embeddings.delete']}')")
    shows(page, ".tinv-embeddings .tinv-said", SENTENCES["page.undo"])
    assert english(page) == []


def test_runs_are_told_in_chinese(page: Any, jobs: JobQueue, values: dict[str, Any]) -> None:
    """A card with all that can be done to a run, and what is wrong with other settings for it."""
    assert jobs.wait(jobs.submit({**values, "preview_every": 5}), 120)
    page.click("button[role=tab]:nth-of-type(4), .tab-nav button:nth-of-type(4)")
    page.click(f".tinv-runs summary:text-is('{SENTENCES['runs.elsewhere']}')")
    page.fill(".tinv-runs details input", values["output"])
    page.press(".tinv-runs details input", "Enter")
    page.wait_for_selector(".tinv-run .tinv-curve")
    shows(page, ".tinv-run", SENTENCES["ui.finished"])
    for summary in page.locator(".tinv-run summary").all():
        summary.click()
    assert english(page) == []
    page.locator(".tinv-run").get_by_label(SENTENCES["runs.total_steps"]).fill("many")
    page.locator(".tinv-run details").get_by_role("button", name=SENTENCES["runs.resume"]).click()
    page.wait_for_selector(".tinv-run .tinv-problems")
    assert english(page) == []
