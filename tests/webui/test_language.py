"""The tab in a WebUI whose user has chosen Chinese."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.webui.browser import OURS, Tab, tab
from tests.webui.images import CONCEPT
from tests.webui.server import ROOT
from tinv_ext.core.messages import templates
from tinv_ext.core.settings import SETTINGS

pytestmark = pytest.mark.webui
CHINESE: dict[str, str] = json.loads((ROOT / "localizations" / "zh_CN.json").read_text("utf-8"))
SENTENCES = templates("zh_CN")
# Several words are cards of their own ("Add a word"), with their own texts.
IN_FIELDS = [about for name, about in SETTINGS.items() if name != "words"]
# what stands in our tab, folded or not: texts, titles and placeholders
SHOWN = """() => {
    const tab = document.querySelector('#tab_tinv'), found = [];
    const walk = document.createTreeWalker(tab, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) found.push(walk.currentNode.textContent.trim());
    for (const node of tab.querySelectorAll('[title], [placeholder]')) found.push(node.title, node.placeholder);
    return found.filter(Boolean);
}"""


@pytest.fixture(scope="module")
def page(start: Any) -> Iterator[Tab]:
    """A browser with our tab open, which has a Chinese title."""
    with start(localization="zh_CN") as webui, tab(webui, title=CHINESE[OURS]) as page:
        page.wait(f"document.querySelector('.tinv-title')?.textContent === '{SENTENCES['ui.no_run_yet']}'")
        yield page


def test_nothing_that_has_a_translation_stays_english(page: Tab) -> None:
    """Every setting's label and help is there in Chinese, and no key of ours is left, in neither part of the page."""
    page.keep("chinese")  # with boxes for letters where no font has them (Debian: fonts-wqy-microhei)
    page.page.locator(".tinv-advanced").evaluate("(fold) => { fold.open = true; }")
    page.click("tinv_all_settings")
    page.page.wait_for_selector("#tinv_all_settings[aria-expanded=true]")
    shown = set(page.page.evaluate(SHOWN))
    assert {CHINESE[text] for about in IN_FIELDS for text in (about.label, about.help)} - shown == set()
    assert {CHINESE[text] for text in ("Embeddings", "Runs")} <= shown
    assert shown & CHINESE.keys() == set()


def test_the_translated_page_acts_as_the_english_one(page: Tab) -> None:
    """A choice is sent by its own name, an answer is translated when it comes."""
    page.fill("name", "zhword")
    page.fill("images", f"~/images/{CONCEPT}")
    page.page.locator(".tinv-advanced").evaluate("(fold) => { fold.open = true; }")
    page.page.fill("#tinv_search", "resize_mode")
    page.page.select_option("#tinv_resize_mode", label=CHINESE["buckets"])
    assert page.page.input_value("#tinv_resize_mode") == "buckets"
    page.click("tinv_check")
    page.wait(f"document.querySelector('#tinv_answer').textContent.includes('{SENTENCES['train.ready']}')")
    assert set(page.page.evaluate(SHOWN)) & CHINESE.keys() == set()
    assert page.errors == []
