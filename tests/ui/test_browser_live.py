"""The live part in a real browser: a run that is watched, and the step that is decided for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.long_run import STEPS, long_run
from tests.paths import ROOT
from tests.ui.browser import needs_chromium, opened, serving
from tests.ui.test_image_routes import tell_of
from tinv_ext.core.formats import read_embedding
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run.status import Status
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.queued_run import Job
from tinv_ext.standalone import app_for

pytestmark = needs_chromium
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"


def served(host: DiffusersHost, jobs: JobQueue) -> AbstractContextManager[str]:
    """The page over these jobs, at a free port."""
    return serving(lambda: app_for(host, jobs))


@pytest.fixture
def done(host: DiffusersHost, jobs: JobQueue, values: dict[str, Any]) -> Job:
    """A finished run of six steps with three previews of two prompts and with snapshots."""
    several = {
        "preview_every": 2,
        "save_every": 2,
        "evaluate_every": 1,
        "preview_prompt": "[name] in red\n[name] in blue",
    }
    job = jobs.submit({**values, "steps": 6, **several})
    assert jobs.wait(job, 120)
    return job


@pytest.fixture
def page(host: DiffusersHost, jobs: JobQueue, done: Job) -> Iterator[Any]:
    """The page of that run."""
    with served(host, jobs) as address, opened(address, "en-US") as page:
        page.wait_for_selector(".tinv-is-finished")
        yield page


@pytest.mark.once
def test_previews_are_a_grid_and_can_be_enlarged(page: Any, done: Job) -> None:
    """A row for each prompt, a column for each step; a click shows prompt and seed, arrows go on, Escape closes."""
    assert page.locator(".tinv-previews tbody th").all_inner_texts() == ["zibbo in red", "zibbo in blue"]
    columns = page.locator(".tinv-previews thead th").count() - 1
    assert columns == len({step for step, _ in done.previews}) >= 3
    page.locator(".tinv-previews tbody tr >> nth=1 >> button >> nth=0").click()
    box = page.locator("dialog.tinv-enlarged")
    first = box.locator("img").get_attribute("src")
    assert "zibbo in blue" in box.inner_text()
    assert f"Seed {done.config.preview_seed + 1}" in box.inner_text() or "Seed" in box.inner_text()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "src => document.querySelector('dialog.tinv-enlarged img').getAttribute('src') !== src", arg=first
    )
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.tinv-enlarged", state="detached")


@pytest.mark.once
def test_two_steps_are_compared(page: Any) -> None:
    """The line between them is moved by keyboard."""
    page.click(".tinv-compare summary")
    page.wait_for_selector(".tinv-sides img")
    line = page.locator(".tinv-sides input")
    before = page.evaluate("document.querySelector('.tinv-edge').getBoundingClientRect().x")
    line.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("document.querySelector('.tinv-edge').getBoundingClientRect().x") > before + 5
    assert "Both with seed" in page.inner_text(".tinv-compare")


@pytest.mark.once
def test_another_step_is_used(page: Any, host: DiffusersHost, done: Job) -> None:
    """The snapshot becomes the embedding, and what was there is kept beside the run."""
    file = host.embeddings_folder / "zibbo.pt"
    assert read_embedding(file).step == 6
    page.select_option(".tinv-decide select >> nth=0", "2")
    page.click("#tinv_use")
    page.wait_for_selector(".tinv-decide .tinv-said")
    assert read_embedding(file).step == 2
    assert read_embedding(file).name == "zibbo"
    (backup,) = (Path(done.folder or "") / "replaced").iterdir()
    assert read_embedding(backup).step == 6
    page.wait_for_function("/step 2/.test(document.querySelector('.tinv-file').textContent)")
    assert page.is_disabled("#tinv_use")


@pytest.mark.once
def test_a_step_is_tried(page: Any, host: DiffusersHost) -> None:
    """An image with the chosen step, and no file left behind."""
    before = sorted(host.embeddings_folder.rglob("*"))
    page.select_option(".tinv-decide select >> nth=0", "2")
    page.click(".tinv-try summary")
    page.fill("#tinv_try_prompt", "zibbo in green")
    page.click("#tinv_try")
    page.wait_for_function("document.querySelector('.tinv-tried')?.naturalWidth > 0")
    assert "Step 2, seed 1: zibbo in green" in page.inner_text(".tinv-try")
    page.click("#tinv_try_file")  # it holds step 6
    page.wait_for_selector(".tinv-try p:has-text('zibbo.pt, seed 1: zibbo in green')")
    assert sorted(host.embeddings_folder.rglob("*")) == before


@pytest.mark.once
def test_the_word_is_tried_where_no_step_was_kept(host: DiffusersHost, jobs: JobQueue, values: dict[str, Any]) -> None:
    """As the presets have it: the embedding that was saved is tried."""
    assert jobs.wait(jobs.submit({**values, "save_every": 0}), 120)
    with served(host, jobs) as address, opened(address, "en-US") as page:
        page.wait_for_selector(".tinv-is-finished")
        page.click(".tinv-try summary:has-text('Try the word')")
        page.fill("#tinv_try_prompt", "zibbo in green")
        page.press("#tinv_try_prompt", "Enter")
        page.wait_for_function("document.querySelector('.tinv-tried')?.naturalWidth > 0")
        assert "zibbo.pt, seed 1: zibbo in green" in page.inner_text(".tinv-try")


@pytest.mark.once
def test_a_step_is_downloaded(page: Any, tmp_path: Path) -> None:
    """The embedding, and a snapshot."""
    for button, step in (("Download", 6), ("Download this step", 4)):
        if step == 4:
            page.select_option(".tinv-decide select >> nth=0", "4")
        with page.expect_download() as download:
            page.get_by_role("button", name=button, exact=True).click()
        target = tmp_path / f"{step}.pt"
        download.value.save_as(target)
        assert read_embedding(target).step == step


@pytest.mark.once
def test_only_buttons_that_do_something_are_there(host: DiffusersHost, jobs: JobQueue, values: dict[str, Any]) -> None:
    """None without a run; Pause while it trains, Resume while it is paused or was stopped; none when it is done."""
    with served(host, jobs) as address, opened(address, "en-US") as page:
        page.wait_for_selector("#tinv_live .tinv-title")
        assert page.locator(".tinv-controls button").count() == 0
        jobs.submit({**values, "steps": 100_000})
        page.wait_for_selector(".tinv-is-training")
        assert page.locator("#tinv_resume").count() == 0
        page.click("#tinv_pause")
        page.wait_for_selector(".tinv-is-paused")
        assert page.locator(".tinv-controls button").all_inner_texts() == ["Resume", "Stop and save"]
        page.click("#tinv_resume")
        page.wait_for_selector(".tinv-is-training")
        page.click("#tinv_stop")
        page.wait_for_selector(".tinv-is-stopped")
        assert page.locator(".tinv-controls button").all_inner_texts() == ["Resume"]
        jobs.submit({**values, "name": "zibbo-2", "steps": 2})
        page.wait_for_selector(".tinv-is-finished")
        assert page.locator(".tinv-controls button").count() == 0


@pytest.mark.once
def test_a_poll_is_little_work_for_the_page(host: DiffusersHost, jobs: JobQueue) -> None:
    """At 10 000 steps, with a step more at each poll: what it asks for, and what it builds and lays out again.

    How many milliseconds that are is measured by bench/page.py.
    """
    job = jobs._jobs["long"] = long_run()
    try:
        with served(host, jobs) as address, opened(address, "en-US") as page:
            page.wait_for_selector(".tinv-chart canvas")
            page.wait_for_timeout(3000)
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable")
            answers: list[tuple[str, int]] = []
            page.on("response", lambda answer: answers.append((answer.url, len(answer.body()))))
            page.evaluate(WATCHED)
            before = counts(session)
            for _ in range(20):
                with job.lock:
                    step = job.now.steps + 1
                    job.curve.append({**job.curve[-1], "step": step})
                    job.now = Status("training", step, total=2 * STEPS)
                page.wait_for_timeout(500)
            after, built = counts(session), page.evaluate("window.tinvBuilt")
        polls = [size for url, size in answers if "/tinv/v1/status" in url]
        charts = [size for url, size in answers if "/tinv/v1/chart" in url]
        assert len(polls) >= 5
        assert len(charts) >= len(polls) // 5  # every two seconds
        assert max(polls) <= 2_000
        assert max(charts) <= 60_000  # of a screen's width, however long the run
        assert built <= 2 * len(polls), "elements are built again"
        for name, most in (("LayoutCount", 2), ("RecalcStyleCount", 3)):
            assert after[name] - before[name] <= most * len(polls), name
    finally:
        jobs._jobs.clear()


WATCHED = """() => {
    window.tinvBuilt = 0;
    const count = (changes) => { for (const one of changes) window.tinvBuilt += one.addedNodes.length; };
    const page = document.querySelector('#tinv_live');
    new MutationObserver(count).observe(page, {childList: true, subtree: true});
}"""


def counts(session: Any) -> dict[str, float]:
    """How often the page has been laid out and its style worked out, so far."""
    return {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}


def test_the_part_fits_every_window(page: Any) -> None:
    """Nothing sticks out, the chart follows, and the controls' line stays in sight."""
    for width in (390, 800, 1400, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
        page.wait_for_function(
            "Math.abs(document.querySelector('.tinv-plot canvas').getBoundingClientRect().width"
            " - document.querySelector('.tinv-plot').clientWidth) <= 1"
        )
        page.evaluate("document.querySelector('.tinv-decide').scrollIntoView({block: 'center', behavior: 'instant'})")
        top = page.evaluate("document.querySelector('.tinv-top').getBoundingClientRect().top")
        assert -1 <= top < 900, width


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm ci")
def test_axe_finds_nothing_serious(page: Any) -> None:
    """In the part as it is after a run, with the comparison open."""
    page.click(".tinv-compare summary")
    page.wait_for_selector(".tinv-sides img")
    page.evaluate(AXE.read_text("utf-8"))
    for dark in (False, True):
        page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
        found = page.evaluate("axe.run('#tinv_live', {resultTypes: ['violations']})")["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        told = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in serious]
        assert serious == [], f"dark {dark}: {json.dumps(told)}"


@pytest.mark.once
def test_a_step_is_tried_in_a_prompt_and_forgotten(page: Any, done: Job, host: DiffusersHost) -> None:
    """Where there is a txt2img tab: its word is put into the prompt, known without a file, and gone when asked."""
    files = sorted(host.embeddings_folder.iterdir())
    prompt = "<div id='txt2img_prompt'><textarea>a photo of</textarea></div>"
    page.evaluate("(html) => document.body.insertAdjacentHTML('afterbegin', html)", prompt)
    page.locator(".tinv-decide select").first.select_option("4")
    page.click("#tinv_try_word")
    page.wait_for_selector("[data-word=zibbo-4]")
    assert page.input_value("#txt2img_prompt textarea") == "a photo of, zibbo-4"
    assert {"zibbo", "zibbo-4"} == {word.name for word in host.known_words()}
    assert sorted(host.embeddings_folder.iterdir()) == files
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".tinv-is-finished")
    page.evaluate("(html) => document.body.insertAdjacentHTML('afterbegin', html)", prompt)
    page.locator(".tinv-decide select").first.select_option("2")  # so that it is drawn with the prompt there
    page.click("[data-word=zibbo-4] >> text=Forget")
    page.wait_for_selector("[data-word=zibbo-4]", state="detached")
    assert {"zibbo"} == {word.name for word in host.known_words()}


def test_an_image_that_does_not_go_with_the_others_is_marked_and_can_be_removed(
    host: DiffusersHost, jobs: JobQueue, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as the run tells of it, at its tile, without a click; removed, the others remain."""
    tell_of(monkeypatch, "1.png")
    with served(host, jobs) as address, opened(address, "en-US") as page:
        page.fill("#tinv_images", values["images"])
        page.wait_for_selector("[data-image='1.png'] img")
        assert not page.locator("[data-kind='odd']").count()
        assert jobs.wait(jobs.submit({**values, "steps": 2}), 120)
        page.wait_for_selector("[data-image='1.png'] [data-kind='odd']")
        assert page.locator("[data-kind='odd']").count() == 1
        page.wait_for_selector(".tinv-notices :text('1.png')")  # which comes with another look
        page.click("[data-image='1.png'] .tinv-tools button:last-child")
        page.wait_for_selector("[data-image='1.png']", state="detached")
        assert page.locator(".tinv-tile").count() == 2


def test_a_step_of_a_paused_run_is_tried(host: DiffusersHost, jobs: JobQueue, values: dict[str, Any]) -> None:
    """Pause gives the model back."""
    job = jobs.submit({**values, "steps": 100_000, "save_every": 2})
    with served(host, jobs) as address, opened(address, "en-US") as page:
        page.wait_for_selector(".tinv-decide .tinv-steps")
        assert page.locator(".tinv-try").count() == 0
        page.click("#tinv_pause")
        page.click(".tinv-try summary")
        page.click("#tinv_try")
        page.wait_for_function("document.querySelector('.tinv-tried')?.naturalWidth > 0")
        page.click("#tinv_resume")
        page.wait_for_selector(".tinv-is-training")
        jobs.command(job.id, "stop")
        assert jobs.wait(job, 120)
