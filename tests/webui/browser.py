"""Headless Chromium on the real WebUI's page, used as a person does."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from tests.webui.server import WebUI

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]
FLAGS += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # nothing but this machine can be reached
PATIENCE = 60_000  # milliseconds for the browser to see something
WORK = 300_000  # milliseconds for a run, or something else that computes, to get somewhere
TABS = "#tabs > .tab-nav > button"
OURS = "Textual Inversion"
COLOURS = 256  # of a kept screenshot, so that it is small


class Tab:
    """A page of the browser with our tab in it."""

    def __init__(self, page: Any, webui: WebUI, title: str) -> None:
        self.page = page
        self.webui = webui
        self.title = title
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self) -> None:
        """The WebUI's page from its address, and our tab in front."""
        self.page.goto(self.webui.address, wait_until="domcontentloaded")
        self.show()

    def show(self, title: str = "") -> None:
        """A tab to the front, when the page is up; ours if no other is named."""
        self.page.wait_for_selector(TABS)
        self.page.locator(TABS).get_by_text(title or self.title, exact=True).click()
        if not title:
            self.page.wait_for_selector("#tinv_train", state="visible")

    def first_paint(self, title: str = "") -> float:
        """Milliseconds from the first click on a tab, on a page that is up, until the painting that follows it; ours if
        no other is named. As the browser counts it, in steps of 8 (Event Timing API: duration)."""
        self.page.goto(self.webui.address, wait_until="domcontentloaded")
        self.page.wait_for_selector(TABS)
        self.page.wait_for_selector("#tinv_train", state="attached")
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_timeout(1000)
        self.page.evaluate(
            """() => {
                window.painted = new Promise((done) =>
                    new PerformanceObserver((list) => {
                        const clicks = list.getEntries().filter((one) => one.name === 'click');
                        if (clicks.length) done(clicks[0].duration);
                    }).observe({ type: 'event', durationThreshold: 16 }));
            }"""
        )
        self.page.locator(TABS).get_by_text(title or self.title, exact=True).click()
        took: float = self.page.evaluate("window.painted")
        return took

    def titles(self) -> list[str]:
        """Of all tabs."""
        return [button.inner_text().strip() for button in self.page.locator(TABS).all()]

    def fill(self, name: str, value: Any) -> None:
        """Type into a field of ours: a setting, which is searched for if it is not in sight, or one of gradio's."""
        if self.page.locator(f"#tinv_{name}:visible").count() == 0:
            self.page.locator(".tinv-advanced").evaluate("(fold) => { fold.open = true; }")
            self.page.fill("#tinv_search", name)
        field = self.page.locator(f"input#tinv_{name}, textarea#tinv_{name}")
        if field.count():
            field.fill(str(value))
        else:
            self.type(f"tinv_{name}", value)

    def drop(self, files: list[Path], folder: str) -> None:
        """Drop a folder of files onto the page, as the browser tells the page of it."""
        sent = [{"name": path.name, "data": base64.b64encode(path.read_bytes()).decode()} for path in files]
        self.page.evaluate(
            """([sent, folder]) => {
                const bytes = (data) => Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
                const files = sent.map(({name, data}) => new File([bytes(data)], name));
                const parts = [files.map((one) => ({isFile: true, name: one.name, file: (done) => done(one)})), []];
                const top = {isDirectory: true, name: folder,
                             createReader: () => ({readEntries: (done) => done(parts.shift() ?? [])})};
                const event = new DragEvent('drop', {bubbles: true, cancelable: true});
                const items = [{webkitGetAsEntry: () => top}];
                Object.defineProperty(event, 'dataTransfer', {value: {types: ['Files'], items, files}});
                document.querySelector('[data-drop=new]').dispatchEvent(event);
            }""",
            [sent, folder],
        )

    def type(self, element: str, value: Any) -> None:
        """Type into one of gradio's fields, and leave it."""
        field = self.page.locator(f"#{element} textarea, #{element} input:not([type=range])").first
        field.fill(str(value))
        field.blur()

    def click(self, element: str) -> None:
        """A button by its id."""
        self.page.locator(f"#{element}").first.click()

    def wait(self, condition: str, patience: int = PATIENCE) -> None:
        """Until a JavaScript expression is true."""
        self.page.wait_for_function(condition, timeout=patience)

    def wait_status(self, status: str, name: str = "") -> None:
        """Until our tab shows this status in its title line, of the run of this name if one is given."""
        named = f"document.querySelector('.tinv-name')?.textContent.includes({name!r})"
        self.wait(f"{named} && document.querySelector('.tinv-is-{status}')", WORK)

    def wait_step(self, step: int) -> None:
        """Until our tab shows this step or a later one."""
        shown = "(document.querySelector('.tinv-figures') || {}).textContent || ''"
        self.wait(f"Number((/step ([0-9]+)/.exec({shown}) || [0, -1])[1]) >= {step}", WORK)

    def generate(self, prompt: str, **fields: Any) -> list[Image.Image]:
        """Images from the txt2img tab, the grid left out."""
        self.show("txt2img")
        values = {"steps": 25, "width": 64, "height": 64, "cfg_scale": 3, "seed": 1000, "batch_size": 4} | fields
        self.type("txt2img_prompt", prompt)
        for name, value in values.items():
            self.type(f"txt2img_{name}", value)
        before = self.page.locator("#html_info_txt2img").first.inner_text()  # gradio 3.41 gives the id to two
        self.click("txt2img_generate")
        said = "(document.querySelector('#html_info_txt2img') || {}).innerText"
        self.page.wait_for_function(f"before => {said} !== before && {said}.includes('TI hashes')", arg=before)
        self.page.wait_for_selector("#txt2img_gallery .thumbnails img, #txt2img_gallery .grid-wrap img")
        sources = [image.get_attribute("src") for image in self.page.locator("#txt2img_gallery .thumbnails img").all()]
        return [self._image(source) for source in sources[-values["batch_size"] :]]

    def _image(self, source: str) -> Image.Image:
        return Image.open(io.BytesIO(self.page.request.get(source).body())).convert("RGB")

    def keep(self, name: str) -> None:
        """A screenshot into the folder SCREENSHOTS, if one was named."""
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            self.page.wait_for_timeout(300)  # for what fades
            taken = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
            Path(folder).mkdir(parents=True, exist_ok=True)
            taken.quantize(COLOURS, dither=Image.Dither.NONE).save(Path(folder) / f"{name}.png", optimize=True)


@contextmanager
def tab(webui: WebUI, login: str = "", title: str = OURS) -> Iterator[Tab]:
    """A browser that reaches nothing but this machine, with our tab open, which has this title.

    `login` is "name:password" if asked for.
    """
    from playwright.sync_api import sync_playwright  # inside the WebUI's process nobody has it

    chromium = shutil.which("chromium")
    assert chromium, "This needs Debian's chromium: apt-get install chromium."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.set_default_timeout(PATIENCE)
        found = Tab(page, webui, title)
        if login:
            name, _, password = login.partition(":")
            page.goto(webui.address, wait_until="domcontentloaded")
            page.get_by_label("username").fill(name)
            page.get_by_label("password").fill(password)
            page.get_by_role("button", name="Login").click()
            found.show()
        else:
            found.open()
        yield found
        browser.close()
