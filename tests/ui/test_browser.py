"""The page in a real browser: a run from its start to its end, seen and steered as a person does."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
import uvicorn  # noqa: E402

from tinv_ext.core.formats import read_embedding  # noqa: E402
from tinv_ext.hosts.diffusers.host import DiffusersHost  # noqa: E402
from tinv_ext.standalone import app_for  # noqa: E402

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]
PATIENCE = 60_000  # milliseconds for the browser to see something


@pytest.fixture
def address(host: DiffusersHost) -> Iterator[str]:
    """The page's server on a free port, built where `asyncio.run` was: it leaves the thread no event loop."""
    asyncio.set_event_loop(None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app_for(host), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join(20)


@contextmanager
def opened(address: str, locale: str) -> Iterator[Any]:
    """A page of headless Chromium with the tab open; nothing but this machine can be reached from it."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1000}, locale=locale)
        page.set_default_timeout(PATIENCE)
        page.route("**/*", lambda route: route.continue_() if "127.0.0.1" in route.request.url else route.abort())
        page.goto(address, wait_until="domcontentloaded")
        page.wait_for_selector("#tinv_train")
        yield page
        browser.close()


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    """The page for somebody who reads English."""
    with opened(address, "en-US") as page:
        yield page


def fill(page: Any, name: str, value: str) -> None:
    """Type into a setting."""
    page.fill(f"#tinv_{name} textarea, #tinv_{name} input", value)


def test_a_run_is_started_watched_and_stopped(page: Any, values: dict[str, Any], host: DiffusersHost) -> None:
    """Name, folder, Train: a bar, a curve, a picture when asked for; a reload finds it again; Stop and save saves."""
    fill(page, "name", "zibbo")
    fill(page, "images", values["images"])
    page.click("#tinv_group_saving")
    fill(page, "output", values["output"])
    page.click("#tinv_group_training")
    fill(page, "steps", "100000")
    page.click("#tinv_group_previews")
    fill(page, "preview_steps", "2")
    page.click("#tinv_check")
    page.wait_for_selector("#tinv_answer .tinv-table")
    assert "zibbo" in page.inner_text("#tinv_answer mark >> nth=0")
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

    page.click("#tinv_stop")
    page.wait_for_selector(".tinv-is-stopped")
    shown = re.search(r"step (\d+) of 100000", page.inner_text(".tinv-figures"))
    assert shown
    assert read_embedding(host.embeddings_folder / "zibbo.pt").step == int(shown.group(1))


def test_what_is_wrong_is_told_and_markup_stays_text(page: Any, values: dict[str, Any]) -> None:
    """Every problem in the page; a caption with a script in it is shown as letters and does nothing."""
    evil = "<img src=x onerror=\"document.title='caught'\">"
    (Path(values["images"]) / "0.txt").write_text(evil, encoding="utf-8")
    fill(page, "name", "zibbo")
    fill(page, "images", "nowhere<b>")
    fill(page, "template", "subject_filewords")
    page.click("#tinv_check")
    page.wait_for_selector("#tinv_answer .tinv-problems")
    assert 'The image folder "nowhere<b>" does not exist' in page.inner_text("#tinv_answer")
    fill(page, "images", values["images"])
    page.click("#tinv_check")
    page.wait_for_selector("#tinv_answer .tinv-table")
    assert evil in page.inner_text("#tinv_answer")
    assert page.query_selector("#tinv_answer img") is None
    assert page.title() != "caught"


def test_a_template_is_written_and_chosen(page: Any, values: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    """Open one, change it, save it under another name: it is chosen, and the prompts are made of it."""
    monkeypatch.chdir(tmp_path)
    fill(page, "name", "zibbo")
    fill(page, "images", values["images"])
    page.click("#tinv_group_images")
    page.click("#tinv_templates")
    page.click("#tinv_lines_open")
    page.wait_for_function("/\\[name\\]/.test(document.querySelector('#tinv_lines textarea').value)")
    page.fill("#tinv_lines textarea", "an etching of [name]")
    page.fill("#tinv_lines_name textarea, #tinv_lines_name input", "etching")
    page.click("#tinv_lines_save")
    page.wait_for_function("/etching/.test(document.querySelector('#tinv_lines_answer').textContent)")
    page.click("#tinv_check")
    page.wait_for_selector("#tinv_answer .tinv-table")
    assert "an etching of zibbo" in page.inner_text("#tinv_answer")
    assert "The gradient reaches the vectors" in page.inner_text("#tinv_answer")
