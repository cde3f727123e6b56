"""Make README's moving picture: from the open tab to previews that get better, on the real page with the toy model.

    .venv-gradio4/bin/python tools/readme_gif.py docs/webui/training.gif

It needs gradio, playwright and Debian's chromium; the tests' environments have the first two.
"""

from __future__ import annotations

import asyncio
import io
import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import uvicorn  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

from tests.ui.test_browser import CHROMIUM, FLAGS, drop  # noqa: E402
from tinv_ext.demo.concept_test import SAMPLES  # noqa: E402
from tinv_ext.hosts.diffusers.host import DiffusersHost  # noqa: E402
from tinv_ext.standalone import app_for  # noqa: E402
from tinv_ext.toy import model  # noqa: E402

CONCEPT, NAME = "purple-moon", "zibbo"
VIEW, WIDTH, COLORS = {"width": 1400, "height": 920}, 900, 128
# What a toy wants beside the four actions of a person, who leaves all this to the program.
SETTINGS = {
    "steps": 200,
    "learning_rate": "0.01:100, 0.005:160, 0.002",
    "batch_size": 4,
    "preview_every": 25,
    "preview_steps": 12,
    "preview_cfg_scale": 3,
    "preview_prompt": "a photo of [name]\na photo of [name] on a yellow background",
}
RUN_FRAMES, PAUSE, LAST = 24, 450, 3000  # how many of the run at most; milliseconds of a frame, and of the last one
LARGEST = 2 << 20


class Film:
    """Frames with the time that each is shown."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.frames: list[Image.Image] = []
        self.times: list[int] = []

    def take(self, milliseconds: int, click: str = "") -> None:
        """The page as it is, with a ring at the element that is about to be clicked."""
        frame = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        if click:
            box = self.page.locator(click).first.bounding_box()
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            ImageDraw.Draw(frame).ellipse((x - 22, y - 22, x + 22, y + 22), outline=(230, 60, 20), width=5)
        height = round(frame.height * WIDTH / frame.width)
        self.frames.append(frame.resize((WIDTH, height), Image.Resampling.LANCZOS))
        self.times.append(milliseconds)

    def write(self, path: Path) -> None:
        """All frames in one palette, of the first one and the last one, that has their rare colours, too."""
        both = Image.new("RGB", (WIDTH, 2 * self.frames[0].height))
        for place, frame in enumerate((self.frames[0], self.frames[-1])):
            both.paste(frame, (0, place * frame.height))
        palette = both.quantize(COLORS, method=Image.Quantize.MAXCOVERAGE)
        frames = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in self.frames]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=self.times, loop=0, optimize=True)


def serve() -> tuple[uvicorn.Server, threading.Thread, str]:
    """The page with the toy behind it, in a data folder of its own."""
    os.chdir(tempfile.mkdtemp())
    embeddings = Path("embeddings").absolute()
    embeddings.mkdir()
    asyncio.set_event_loop(None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    host = DiffusersHost(model.pipeline(), embeddings, {"model_name": "toy"})
    server = uvicorn.Server(uvicorn.Config(app_for(host), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    return server, thread, f"http://127.0.0.1:{port}/"


def play(page: Any) -> Film:
    """The four actions: drop, name, purpose, Train; then the run until its end."""
    film = Film(page)
    page.wait_for_selector("#tinv_train")
    page.wait_for_timeout(1500)
    film.take(1200)
    drop(page, "[data-drop=new]", sorted((SAMPLES / CONCEPT).iterdir()), "moons")
    page.wait_for_function("[...document.querySelectorAll('.tinv-tile img')].filter((i) => i.naturalWidth).length >= 8")
    page.wait_for_timeout(1500)
    film.take(1500)
    page.click("#tinv_name")
    for end in range(1, len(NAME) + 1):
        page.fill("#tinv_name", NAME[:end])
        film.take(140)
    page.wait_for_selector("#tinv_verdict[data-state=free]")
    page.wait_for_timeout(600)
    film.take(900, click="[data-setting=purpose] label:has-text('object')")
    film.take(900, click="#tinv_train")
    page.click("#tinv_train")
    page.wait_for_selector(".tinv-chart canvas", timeout=120_000)
    seen = -1
    while True:
        over = page.locator(".tinv-is-finished").count() > 0
        shown = page.locator(".tinv-previews img").count()
        if over or (shown > seen and len(film.frames) < RUN_FRAMES):
            page.wait_for_timeout(900)
            page.evaluate("document.querySelector('.tinv-previews')?.closest('section').scrollIntoView({block: 'end'})")
            film.take(LAST if over else PAUSE)
            seen = shown
        if over:
            return film
        page.wait_for_timeout(400)


def main(path: Path) -> None:
    """Play, and write the file; it must not be larger than a README likes."""
    server, thread, address = serve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport=VIEW, locale="en-US")
        page.set_default_timeout(120_000)
        page.add_init_script(
            f"localStorage.getItem('tinv.train') ?? localStorage.setItem('tinv.train', JSON.stringify({SETTINGS!r}))"
        )
        page.goto(address, wait_until="domcontentloaded")
        film = play(page)
        browser.close()
    server.should_exit = True
    thread.join(20)
    film.write(path)
    print(f"{path}: {len(film.frames)} frames, {sum(film.times) / 1000:.0f} s, {path.stat().st_size >> 10} KiB")
    assert path.stat().st_size <= LARGEST, "too large: fewer frames, fewer colours"


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
