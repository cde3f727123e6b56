"""The history of runs in a browser: looked back at, gone on with, cleaned up; the queue put in order; presets kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.ui.browser import fill, needs_chromium
from tests.ui.test_browser import address, page  # noqa: F401  (fixtures)
from tinv_ext.core.formats import read_embedding
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run.run_folder import RunFolder, find_runs
from tinv_ext.run.status import OVER, Status
from tinv_ext.server import left_runs
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.presets import Presets
from tinv_ext.standalone import app_for

pytestmark = [needs_chromium, pytest.mark.once]
TAKEN = "document.addEventListener('tinv:settings', (event) => { window.taken = event.detail; })"


@pytest.fixture
def jobs_home(tmp_path: Path) -> Path:
    """The folder of the test, where the page's queue works."""
    return tmp_path


@pytest.fixture
def jobs(host: DiffusersHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobQueue:
    """The queue of the page, whose usual log directory lies below the folder of the test."""
    monkeypatch.chdir(tmp_path)
    queue = JobQueue(lambda: host)
    monkeypatch.setattr("tests.ui.test_browser.app_for", lambda host: app_for(host, queue))
    return queue


@pytest.fixture
def runs(jobs: JobQueue, page: Any) -> Any:  # noqa: F811
    """The page of that queue; all its jobs are stopped in the end."""
    yield page
    jobs.end(120)


def trained(jobs: JobQueue, values: dict[str, Any], **more: Any) -> RunFolder:
    """A run that is over, in the usual log directory."""
    given = {**values, "steps": 6, "preview_every": 3, "save_every": 2, "evaluate_every": 2, **more}
    assert jobs.wait(jobs.submit({**given, "output": "textual_inversion"}), 120)
    return find_runs(Path("textual_inversion"))[0]


def show(page: Any) -> None:  # noqa: F811
    """Click the tab."""
    page.click("button[role=tab]:has-text('Runs'), .tab-nav button:has-text('Runs')")
    page.wait_for_selector(".tinv-runs")


def card(page: Any, name: str) -> Any:  # noqa: F811
    """The card of a run."""
    found = page.locator(f".tinv-run:has(h3:text-is('{name}'))")
    found.wait_for()
    return found


def fold(place: Any, label: str) -> Any:
    """Open one of the actions of a card."""
    found = place.locator(f"details:has(summary:text-is('{label}'))")
    found.locator("summary").click()
    return found


def said(page: Any, text: str) -> None:  # noqa: F811
    """Wait until the page says that something was done."""
    page.wait_for_selector(f".tinv-runs .tinv-said:has-text({json.dumps(text)})")


def test_runs_are_cards_with_preview_and_curve_and_can_be_searched(
    runs: Any, jobs: JobQueue, values: dict[str, Any]
) -> None:
    """What it was, how it ended, what it looked like; several curves in one chart; its settings for a new run."""
    trained(jobs, values, seed=4)
    trained(jobs, values, name="zibba")
    show(runs)
    first = card(runs, "zibbo")
    first.locator("polyline").wait_for()
    runs.wait_for_function("document.querySelector('.tinv-run img')?.naturalWidth > 0")
    text = first.inner_text()
    assert "finished" in text
    assert "step 6 of 6" in text
    assert " kB" in text
    for name in ("zibbo", "zibba"):
        card(runs, name).get_by_label("Compare curves").check()
    runs.wait_for_selector(".tinv-runs .tinv-chart canvas")
    assert runs.locator(".tinv-runs .tinv-dot").count() == 2
    runs.locator(".tinv-runs .tinv-chip small:text-is('evaluation')").nth(1).wait_for()
    runs.evaluate(TAKEN)
    first.get_by_role("button", name="Train like this").click()
    taken = runs.evaluate("window.taken")
    assert (taken["from"], taken["settings"]["seed"], taken["settings"]["steps"]) == ("zibbo", 4, 6)
    show(runs)
    runs.fill(".tinv-runs input[type=search]", "zibba")
    runs.wait_for_function("document.querySelectorAll('.tinv-run').length === 1")
    runs.click("summary:has-text('Runs of another log directory')")
    runs.get_by_label("Log directory", exact=True).last.fill("elsewhere")
    runs.get_by_label("Log directory", exact=True).last.press("Enter")
    runs.get_by_text('There are no runs in the log directory "elsewhere".').wait_for()


def test_a_run_goes_on_with_more_steps(runs: Any, jobs: JobQueue, values: dict[str, Any], host: DiffusersHost) -> None:
    """What is wrong with the changes is told; then it goes on to its new end."""
    trained(jobs, values)
    show(runs)
    changed = fold(card(runs, "zibbo"), "Resume with changes")
    for steps, place in (("many", ".tinv-run .tinv-problems"), ("8", ".tinv-said:has-text('zibbo goes on')")):
        changed.get_by_label("Total steps").fill(steps)
        changed.get_by_role("button", name="Resume").click()
        runs.wait_for_selector(place)
    runs.wait_for_selector(".tinv-run:has-text('finished step 8 of 8')")
    assert read_embedding(host.embeddings_folder / "zibbo.pt").step == 8


def test_the_offer_to_resume_vanishes_when_it_is_taken(
    jobs: JobQueue, values: dict[str, Any], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that a crash interrupted goes on by one click; left as it is, it is a stopped one, which is undone."""
    run = trained(jobs, values)
    jobs._jobs.clear()  # as another program finds it
    monkeypatch.setattr(left_runs, "_LOOK", 0.0)
    run.write_status(Status("training", 3, total=9))
    config = json.loads((run.path / "config.json").read_text("utf-8"))
    config["settings"]["steps"] = 9
    (run.path / "config.json").write_text(json.dumps(config), "utf-8")
    runs = request.getfixturevalue("runs")
    show(runs)
    offer = runs.locator(".tinv-runs .tinv-offer")
    offer.get_by_role("button", name="Leave it zibbo").click()
    offer.get_by_text('The run "zibbo" is offered no longer. The tab Runs has it.').wait_for()
    runs.wait_for_selector(".tinv-run .tinv-outcome:text-is('stopped')")
    offer.get_by_role("button", name="Undo").click()
    offer.get_by_role("button", name="Resume zibbo").click()
    offer.wait_for(state="detached")
    runs.wait_for_selector(".tinv-run:has-text('step 9 of 9')")


def test_what_waited_when_the_program_ended_is_queued_again(
    jobs: JobQueue, values: dict[str, Any], host: DiffusersHost, request: pytest.FixtureRequest
) -> None:
    """Both, with one click, on the page that one sees first; one can be forgotten, and remembered."""
    before = JobQueue(lambda: host)
    given = {**values, "output": ""}
    first = before.submit({**given, "steps": 100_000, "save_every": 0, "evaluate_every": 0})
    for name in ("zibb-a", "zibb-b"):
        before.submit({**given, "name": name})
    before.end(120)
    assert first.now.over
    runs = request.getfixturevalue("runs")
    waited = runs.locator("#tinv_live .tinv-waited")
    waited.get_by_text("2 runs were waiting in the queue when the program ended.").wait_for()
    waited.get_by_role("button", name="Forget zibb-a").click()
    waited.get_by_text('The run "zibb-a" is forgotten.').wait_for()
    waited.get_by_text('The run "zibb-b" was waiting in the queue when the program ended.').wait_for()
    waited.get_by_role("button", name="Undo").click()
    waited.get_by_role("button", name="Queue all again").click()
    waited.wait_for(state="detached")
    for name in ("zibb-a", "zibb-b"):
        job = next(job for job in jobs.all() if job.config.name == name)
        assert jobs.wait(job, 120)
        assert job.status == "finished"
    show(runs)
    runs.wait_for_selector(".tinv-run:has-text('zibb-b')")


def test_why_what_waited_cannot_be_queued_is_said_at_its_line(
    jobs: JobQueue, values: dict[str, Any], host: DiffusersHost, request: pytest.FixtureRequest
) -> None:
    """The others are queued all the same."""
    before = JobQueue(lambda: host)
    first = before.submit({**values, "output": "", "steps": 100_000, "save_every": 0, "evaluate_every": 0})
    other = Path(values["images"]).with_name("others")
    shutil.copytree(values["images"], other)
    for name, images in (("zibb-a", other), ("zibb-b", values["images"])):
        before.submit({**values, "output": "", "name": name, "images": str(images)})
    before.end(120)
    assert first.now.over
    shutil.rmtree(other)
    runs = request.getfixturevalue("runs")
    show(runs)
    waited = runs.locator(".tinv-runs .tinv-waited")
    waited.get_by_role("button", name="Queue all again").click()
    waited.locator("li:has-text('zibb-a') .tinv-problems").wait_for()
    assert [job.config.name for job in jobs.all()] == ["zibb-b"]
    waited.get_by_role("button", name="Train like this zibb-a").click()
    runs.wait_for_selector("#tinv_train")
    runs.wait_for_function("document.querySelector('#tinv_name').value === 'zibb-a'")
    assert runs.input_value("#tinv_images") == str(other)


def test_a_run_is_cleaned_up_with_undo(runs: Any, jobs: JobQueue, values: dict[str, Any]) -> None:
    """Snapshots go and come back; the whole run goes; emptied, it is gone for good after a second click."""
    run = trained(jobs, values)
    show(runs)
    clean = fold(card(runs, "zibbo"), "Clean up")
    runs.set_viewport_size({"width": 900, "height": 330})
    clean.get_by_label("Snapshots").check()
    clean.get_by_role("button", name="to the trash").press("Enter")
    said(runs, "moved to the trash")
    top = runs.locator(".tinv-runs .tinv-said").bounding_box()["y"]
    assert 0 <= top < 330  # in sight, though the card is scrolled to
    runs.keyboard.press("Tab")
    assert runs.evaluate("document.activeElement.textContent.trim()") == "Undo"
    assert not (run.path / "embeddings").exists()
    clean.get_by_label("Snapshots").wait_for(state="detached")
    runs.click(".tinv-said button:text-is('Undo')")
    said(runs, "was restored")
    clean.get_by_label("Snapshots").wait_for()
    assert len(list((run.path / "embeddings").iterdir())) == 3
    clean.get_by_label("The whole run").check()
    clean.get_by_role("button", name="to the trash").click()
    runs.wait_for_function("document.querySelectorAll('.tinv-run').length === 0")
    runs.click(".tinv-runs summary:has-text('Trash')")
    runs.click("button:text-is('Empty the trash')")
    assert list(Path("textual_inversion/deleted").iterdir())
    runs.click("button:text-is('Delete for good')")
    said(runs, "free again")
    assert not list(Path("textual_inversion/deleted").iterdir())


def test_the_queue_is_put_in_order_and_shortened(runs: Any, jobs: JobQueue, values: dict[str, Any]) -> None:
    """Up, and out; what is at work stays first."""
    jobs.submit({**values, "steps": 100_000})
    for name in ("ziba", "zibb", "zibc"):
        jobs.submit({**values, "name": name})
    show(runs)
    runs.click("button[title='Move zibc up']")
    runs.wait_for_function("/zibc[^]*zibb/.test(document.querySelector('.tinv-runs ol').textContent)")
    assert [job.config.name for job in jobs.active()] == ["zibbo", "ziba", "zibc", "zibb"]
    runs.click(".tinv-runs ol li:has-text('ziba') button:has-text('Remove')")
    runs.wait_for_function("!/ziba/.test(document.querySelector('.tinv-runs ol').textContent)")
    assert [job.config.name for job in jobs.active()] == ["zibbo", "zibc", "zibb"]


def test_a_paused_run_is_resumed_and_one_that_is_over_watched_again_in_the_queue(
    runs: Any, jobs: JobQueue, values: dict[str, Any]
) -> None:
    """Which has given way to the next one; what was taken out of the queue is no run to watch."""
    trained(jobs, values)
    at_work = jobs.submit({**values, "name": "ziba", "steps": 100_000})
    jobs.command(jobs.submit({**values, "name": "zibb"}).id, "stop")
    show(runs)
    assert not runs.is_visible(".tinv-runs ol button:has-text('Resume')")
    jobs.command(at_work.id, "pause")
    runs.click(".tinv-runs ol li:has-text('ziba') button:has-text('Resume')")
    runs.wait_for_selector(".tinv-runs ol button:has-text('Resume')", state="detached")
    assert jobs.obeyed(at_work, "resume")
    assert not at_work.controls.pause.is_set()
    over = runs.locator(".tinv-runs .tinv-over li").all_inner_texts()
    assert ["zibbo finished" in " ".join(text.split()) for text in over] == [True]
    runs.click(".tinv-runs .tinv-over li:has-text('zibbo') button:has-text('Watch')")
    runs.wait_for_selector("#tinv_live .tinv-name:text-is('zibbo')")
    runs.wait_for_selector("#tinv_live .tinv-decide")
    runs.click("#tinv_watch_current")
    runs.wait_for_selector("#tinv_live .tinv-name:text-is('ziba')")


def test_a_run_that_is_resumed_while_another_is_at_work_is_said_to_wait(
    runs: Any, jobs: JobQueue, values: dict[str, Any]
) -> None:
    """With which one it waits for."""
    trained(jobs, values)
    jobs.submit({**values, "name": "ziba", "steps": 100_000})
    show(runs)
    changed = fold(card(runs, "zibbo"), "Resume with changes")
    changed.get_by_label("Total steps").fill("8")
    changed.get_by_role("button", name="Resume").click()
    said(runs, "zibbo is queued. It starts when ziba has ended.")


def test_another_run_than_the_current_one_is_watched(runs: Any, jobs: JobQueue, values: dict[str, Any]) -> None:
    """Chosen in the queue, shown where runs are watched; back by a click, or when that run is forgotten."""
    at_work = jobs.submit({**values, "steps": 100_000})
    waits = jobs.submit({**values, "name": "ziba"})
    show(runs)
    runs.click(".tinv-runs ol li:has-text('ziba') button:has-text('Watch')")
    runs.wait_for_selector("#tinv_live .tinv-name:text-is('ziba')")
    runs.wait_for_selector("#tinv_live .tinv-is-queued")
    runs.click("#tinv_watch_current")
    runs.wait_for_selector("#tinv_live .tinv-name:text-is('zibbo')")
    assert not runs.is_visible("#tinv_watch_current")
    show(runs)
    runs.click(".tinv-runs ol li:has-text('ziba') button:has-text('Watch')")
    runs.wait_for_selector("#tinv_live .tinv-name:text-is('ziba')")
    with jobs._changed:
        jobs._jobs.pop(waits.id)
    runs.wait_for_selector("#tinv_live .tinv-name:text-is('zibbo')")
    assert at_work.status not in OVER


def test_an_embedding_that_was_replaced_is_brought_back(
    runs: Any, jobs: JobQueue, values: dict[str, Any], host: DiffusersHost
) -> None:
    """By the card of the run that has replaced it, and of no other; what that had made is in the trash."""
    first = trained(jobs, values)
    file = host.embeddings_folder / "zibbo.pt"
    before = file.read_bytes()
    again = trained(jobs, values, overwrite=True, seed=9)
    assert file.read_bytes() != before
    show(runs)
    runs.locator(".tinv-run").nth(1).wait_for()
    offers = runs.get_by_role("button", name="Bring back the zibbo.pt from before")
    offers.wait_for()
    assert offers.count() == 1
    offers.click()
    said(runs, '"zibbo.pt" is again as it was before the run. What the run had made is in the trash')
    assert file.read_bytes() == before
    assert first.replaced() == []
    assert [name for _, name in again.replaced()] == ["zibbo.pt"]


def test_presets_are_saved_used_exported_and_imported(
    runs: Any, jobs: JobQueue, values: dict[str, Any], tmp_path: Path
) -> None:
    """From a run; to the form; as a file and back; what is no preset is told."""
    trained(jobs, values, num_vectors=3)
    show(runs)
    keep = fold(card(runs, "zibbo"), "Save as preset")
    keep.get_by_label("Name of the preset").fill("mine")
    keep.get_by_role("button", name="Save as preset").click()
    said(runs, 'Saved the preset "mine"')
    line = runs.locator(".tinv-runs section li:has-text('mine')")
    line.wait_for(timeout=4_000)  # sooner than the page asks by itself
    with runs.expect_download() as download:
        line.get_by_role("button", name="Export").click()
    download.value.save_as(tmp_path / "mine.json")
    exported = json.loads((tmp_path / "mine.json").read_text("utf-8"))
    assert exported["settings"]["num_vectors"] == 3
    assert "images" not in exported["settings"]
    line.get_by_role("button", name="Delete").click()
    said(runs, 'Deleted the preset "mine"')
    runs.set_input_files(".tinv-runs input[type=file]", str(tmp_path / "mine.json"))
    said(runs, 'Saved the preset "mine"')
    assert [preset.name for preset in Presets(tmp_path / "textual_inversion_presets").all()] == ["mine"]
    (tmp_path / "no.json").write_text("[", "utf-8")
    runs.set_input_files(".tinv-runs input[type=file]", str(tmp_path / "no.json"))
    runs.wait_for_selector(".tinv-runs .tinv-problems")
    line.get_by_role("button", name="Use").click()
    runs.wait_for_selector("#tinv_own_presets", state="visible")
    assert runs.input_value("#tinv_name") == ""
    runs.fill("#tinv_name", "zibba")
    fill(runs, "steps", "77")
    runs.click("#tinv_own_presets button:text-is('mine')")
    runs.wait_for_function("document.querySelector('#tinv_steps').value !== '77'")
    assert runs.input_value("#tinv_name") == "zibba"  # which word, a preset does not say
    kept = json.loads(runs.evaluate("localStorage.getItem('tinv.train')"))
    assert (kept["name"], kept["num_vectors"]) == ("zibba", 3)
