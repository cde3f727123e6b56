"""What the page costs the browser: work for each poll of a long run, and the time from the click until it is painted.

`.venv-webui/bin/python bench/page.py` (or .venv-gradio4), with Debian's chromium; on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright import sync_api

from tests.fake_host import FakeHost
from tests.long_run import STEPS, long_run
from tests.ui.browser import CHROMIUM, FLAGS, serving
from tinv_ext.run.status import Status
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.queued_run import Job
from tinv_ext.standalone import app_for
from tinv_ext.ui import page as our_page

WORK = ("ScriptDuration", "RecalcStyleDuration", "LayoutDuration")
CLICK = """async (head) => {
    const frame = () => new Promise(requestAnimationFrame);
    await frame();
    const begun = performance.now();
    head.click();
    while (!document.querySelector('#tinv_train')?.offsetParent) await frame();
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0))); // behind the painting
    return performance.now() - begun;
}"""


def a_step_more(job: Job) -> None:
    """As a run at work adds it."""
    with job.lock:
        step = job.now.steps + 1
        job.curve.append({**job.curve[-1], "step": step})
        job.now = Status("training", step, total=2 * STEPS)


def work_of_a_poll(browser: Any, address: str, job: Job, seconds: float) -> float:
    """Milliseconds of script, style and layout for a poll, of the thread of a page that shows `job`."""
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.goto(address, wait_until="domcontentloaded")
    page.get_by_role("tab", name=our_page.TITLE).or_(page.get_by_role("button", name=our_page.TITLE)).click()
    page.wait_for_selector(".tinv-chart canvas")
    page.wait_for_timeout(3000)  # until all has been loaded and drawn
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    polls: list[str] = []
    page.on("request", lambda request: polls.extend([request.url] if "/tinv/v1/status" in request.url else []))
    before, end = worked(session), time.monotonic() + seconds
    while time.monotonic() < end:
        a_step_more(job)
        page.wait_for_timeout(300)
    after = worked(session)
    page.close()
    return 1000 * (after - before) / len(polls)


def worked(session: Any) -> float:
    """Seconds of script, style and layout so far."""
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return float(sum(metrics[name] for name in WORK))


def first_paint(browser: Any, address: str) -> float:
    """Milliseconds by the clock from the first click on the tab of a page that is up, until the tab is painted."""
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_selector("#tinv_train", state="attached")
    page.wait_for_load_state("networkidle")
    head = page.get_by_role("tab", name=our_page.TITLE).or_(page.get_by_role("button", name=our_page.TITLE))
    took = float(head.evaluate(CLICK))
    page.close()
    return took


@contextmanager
def behind_another_tab() -> Iterator[None]:
    """Meanwhile the page is built in a tab that is not the first, as in a WebUI."""
    build = our_page.build

    def behind(context: Any = None) -> gr.Tabs:
        with gr.Tabs() as tabs:
            with gr.Tab("txt2img"):
                gr.Textbox(label="Prompt")
            with gr.Tab(our_page.TITLE):
                build(context)
        return tabs

    our_page.build = behind
    try:
        yield
    finally:
        our_page.build = build


def main() -> None:
    """Print both, with what the machine did beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7, help="new pages whose first paint is timed")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long polls are watched")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, behind_another_tab(), sync_api.sync_playwright() as playwright:
        host: Any = FakeHost(Path(folder))
        jobs = JobQueue(lambda: host, Path(folder))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        with serving(lambda: app_for(host, jobs)) as address:
            first_paint(browser, address)  # the server's first page: its routes are built
            paints = [first_paint(browser, address) for _ in range(options.times)]
            jobs._jobs["long"] = long_run()
            poll = work_of_a_poll(browser, address, jobs._jobs["long"], options.seconds)
            jobs._jobs.clear()
        load = os.getloadavg()[0]
        print(f"gradio {gr.__version__}, Chromium {browser.version}, load {load:.1f}")
        browser.close()
    print(f"poll at {STEPS} steps: {poll:.2f} ms of script, style and layout")
    told = f"median {statistics.median(paints):.0f} ms, {min(paints):.0f} … {max(paints):.0f} of {len(paints)}"
    print(f"first paint after the click: {told}")


if __name__ == "__main__":
    main()
