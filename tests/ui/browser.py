"""A real browser over the page's server, as the tests of the page use it."""

from __future__ import annotations

import base64
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
import uvicorn  # noqa: E402

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]
FLAGS += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # nothing but this machine can be reached
PATIENCE = 60_000  # milliseconds for the browser to see something


@contextmanager
def serving(build: Callable[[], Any]) -> Iterator[str]:
    """The address of the app that is built, served at a free port. Built in a thread that has no event loop, as the
    command line's has none."""
    with ThreadPoolExecutor(1) as builder:
        app = builder.submit(build).result()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(20)


class Chromium:
    """One browser for the tests of a file, started by the first of them: that takes as long as many a test."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._browser: Any = None

    def new_page(self, locale: str) -> Any:
        """A page that shares nothing with the others."""
        if self._browser is None:
            playwright = self._open.enter_context(sync_api.sync_playwright())
            self._browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            self._open.callback(self._browser.close)
        return self._browser.new_page(viewport={"width": 1300, "height": 1000}, locale=locale)

    def end(self) -> None:
        """So that the thread has no event loop any more when the tests of another file begin."""
        self._browser = None
        self._open.close()


SHARED = Chromium()


@contextmanager
def opened(address: str, locale: str) -> Iterator[Any]:
    """A page of headless Chromium with the tab open; nothing but this machine can be reached from it."""
    page = SHARED.new_page(locale)
    try:
        page.set_default_timeout(PATIENCE)
        page.add_init_script("performance.setResourceTimingBufferSize(100000)")  # for `shown`
        page.goto(address, wait_until="domcontentloaded")
        page.wait_for_selector("#tinv_train")
        yield page
    finally:
        page.close()


def shown(page: Any) -> str:
    """What somebody would see of the page now, and what it had to say to the console and asked of the program last."""
    try:
        text = page.evaluate(
            """() => [`scrolled to ${scrollY} of ${document.body.scrollHeight}`,
                ...['train', 'live'].map((part) =>
                    `[${part}] ${document.getElementById(`tinv_part_${part}`)?.innerText}`),
                'asked last:',
                ...performance.getEntriesByType('resource').slice(-8).map((one) =>
                    `${Math.round(one.startTime)} ms ${one.responseStatus} ${new URL(one.name).pathname}`),
                `now: ${Math.round(performance.now())} ms`].join('\\n')"""
        )
    except sync_api.Error as error:
        return f"The page could not be asked: {error}"
    return re.sub(r"\n\s*\n", "\n", text)[-6000:]


def fill(page: Any, name: str, value: str) -> None:
    """Type into a setting, which is searched for if it is not in sight."""
    if not page.is_visible(f"#tinv_{name}"):
        page.locator(".tinv-advanced").evaluate("(fold) => { fold.open = true; }")
        page.fill("#tinv_search", name)
    page.fill(f"#tinv_{name}", value)


def drop(page: Any, place: str, files: list[Path], folder: str = "") -> None:
    """Drop files, or a folder of them, as the browser tells the page of it."""
    sent = [{"name": path.name, "data": base64.b64encode(path.read_bytes()).decode()} for path in files]
    page.evaluate(
        """([place, sent, folder]) => {
            const bytes = (data) => Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const files = sent.map(({name, data}) => new File([bytes(data)], name));
            const entry = (file) => ({isFile: true, name: file.name, file: (done) => done(file)});
            const parts = [files.map(entry), []];
            const top = {isDirectory: true, name: folder,
                         createReader: () => ({readEntries: (done) => done(parts.shift() ?? [])})};
            const items = (folder ? [top] : files.map(entry)).map((one) => ({webkitGetAsEntry: () => one}));
            const event = new DragEvent('drop', {bubbles: true, cancelable: true});
            Object.defineProperty(event, 'dataTransfer', {value: {types: ['Files'], items, files}});
            document.querySelector(place).dispatchEvent(event);
        }""",
        [place, sent, folder],
    )
