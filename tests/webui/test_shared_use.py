"""A run and the others: images in mid-run, reloads of page and UI, pause, stop, going on. It stays the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.webui import server
from tests.webui.browser import OURS, WORK, Tab
from tests.webui.images import CONCEPT, txt2img
from tests.webui.server import PATIENCE, WebUI
from tinv_ext.core.formats import read_embedding

pytestmark = pytest.mark.webui
FAR = 1_000_000  # steps: the run ends when it is told to
REQUESTS = 20
RELOADS = 3
RELOADING = 120.0  # seconds that one may take
PROMPT = "a photo of a red circle"


def begin(webui: WebUI, **changes: Any) -> str:
    """A run by the API, whose word is its last step; its id."""
    given = {"name": "qizzo", "images": f"~/images/{CONCEPT}", "batch_size": 4, "seed": 3, "steps": FAR}
    given |= {"result": "last", **changes}
    found: str = webui.post("/tinv/v1/train", given)["id"]
    return found


def job(webui: WebUI) -> dict[str, Any]:
    """What the status route says of the run."""
    found: dict[str, Any] = webui.get("/tinv/v1/status?since=100000000")["job"]
    return found


def until(webui: WebUI, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The status when it fits."""
    end = time.monotonic() + PATIENCE
    while not condition(found := job(webui)):
        assert time.monotonic() < end, found
        assert found["status"] != "failed", found
        time.sleep(0.1)
    return found


def until_step(webui: WebUI, step: int, name: str = "qizzo") -> dict[str, Any]:
    """The status of the run of this name at this step or a later one."""
    return until(webui, lambda found: found["name"] == name and found["steps"] >= step)


def vectors(webui: WebUI, name: str = "qizzo") -> torch.Tensor:
    """Of the file in the embeddings folder, which must be what the WebUI has loaded."""
    found = webui.inside("word", name=name)
    (tensor,) = read_embedding(Path(found["file"])).vectors.values()
    assert torch.equal(torch.tensor(found["vectors"]), tensor)
    return tensor


@pytest.fixture(scope="module")
def plain(webui: WebUI) -> torch.Tensor:
    """The image of `PROMPT` while nothing trains."""
    return txt2img(webui, PROMPT, count=1)[0]


def test_a_run_starts(webui: WebUI, page: Tab, plain: torch.Tensor) -> None:
    """By the API; the page shows it, too."""
    begin(webui)
    page.show()
    page.wait_status("training", "qizzo")
    until_step(webui, 5)


def test_images_in_mid_run_are_served_and_are_the_same(
    webui: WebUI, plain: torch.Tensor, tell: Callable[[str], None]
) -> None:
    """Twenty requests in a row; the run goes on between them."""
    before, begun = job(webui)["steps"], time.monotonic()
    for _ in range(REQUESTS):
        assert torch.equal(txt2img(webui, PROMPT, count=1)[0], plain)
    seconds, steps = time.monotonic() - begun, job(webui)["steps"] - before
    assert steps >= REQUESTS - 1  # never kept from working either
    tell(f"{REQUESTS} images in mid-run: {seconds:.1f} s, {steps} steps beside them")


def test_the_page_in_mid_run(webui: WebUI, page: Tab) -> None:
    """Loading the page again finds the run as it is, its curve from the beginning."""
    page.open()
    page.wait_status("training")
    page.page.wait_for_selector(".tinv-chart canvas")
    until_step(webui, job(webui)["steps"] + 5)


def test_reload_ui_in_mid_run(webui: WebUI, page: Tab) -> None:
    """Three times: the same job, still at work; one tab, one set of routes, one worker."""
    one, routes = job(webui)["id"], webui.inside("routes")
    for _ in range(RELOADS):
        before, starts = job(webui)["steps"], webui.starts()
        page.show("Settings")
        page.page.evaluate("window.before_reload = true")
        page.click("settings_restart_gradio")
        until_up(webui, starts + 1)
        page.page.wait_for_function("!window.before_reload && document.querySelector('#tabs')")
        page.show()
        assert page.titles().count(OURS) == 1
        assert sorted(webui.inside("workers")).count("tinv-jobs") == 1
        page.wait_status("training")
        assert webui.inside("routes") == routes  # all of them, as the page has asked
        assert len(set(routes)) == len(routes)
        assert job(webui)["id"] == one
        until_step(webui, before + 5)


def until_up(webui: WebUI, starts: int) -> None:
    """Until its log says that it is up for the given number of times."""
    end = time.monotonic() + RELOADING
    while webui.starts() < starts:
        assert time.monotonic() < end, "Reload UI does not end"
        time.sleep(0.2)


def test_pause_and_resume(webui: WebUI, page: Tab, plain: torch.Tensor) -> None:
    """Paused it stands still and lets images through; Resume goes on from there."""
    page.click("tinv_pause")
    page.wait_status("paused")
    step = job(webui)["steps"]
    assert torch.equal(txt2img(webui, PROMPT, count=1)[0], plain)
    assert job(webui)["steps"] == step
    page.click("tinv_resume")
    page.wait_status("training")
    until_step(webui, step + 5)


def test_a_preview_and_a_snapshot_on_demand(webui: WebUI, page: Tab) -> None:
    """Both come while it goes on."""
    page.click("tinv_snapshot")
    page.click("tinv_preview")
    page.page.wait_for_selector(".tinv-previews img")

    def copies() -> list[Path]:
        return list((webui.data / "textual_inversion").glob("*/qizzo-*/embeddings/*.pt"))

    until(webui, lambda found: bool(found["previews"] and copies()))
    assert len(copies()) == 1
    webui.inside("safe_to_unpickle", path=str(copies()[0]))


def test_all_of_this_has_changed_nothing(webui: WebUI, page: Tab) -> None:
    """Stop and save: the vectors are, bit for bit, those of a run of so many steps that nobody disturbed."""
    page.click("tinv_stop")
    page.wait_status("stopped")
    steps = job(webui)["steps"]
    disturbed = vectors(webui)
    assert webui.inside("word", name="qizzo")["step"] == steps
    begin(webui, steps=steps, overwrite=True)
    until(webui, lambda found: found["status"] == "finished")
    assert torch.equal(vectors(webui), disturbed)


def test_a_stopped_run_goes_on(webui: WebUI, page: Tab) -> None:
    """Chosen from the list of runs, with more steps; as if it had never stopped."""
    begin(webui, name="gizzox")
    until_step(webui, 10, "gizzox")
    page.click("tinv_stop")
    page.wait_status("stopped", "gizzox")
    goal = job(webui)["steps"] + 20
    page.page.click(".tab-nav button:has-text('Runs') >> visible=true")
    card = page.page.locator(".tinv-run:has(h3:text-is('gizzox'))")
    card.locator("summary:text-is('Resume with changes')").click()
    card.get_by_label("Total steps").fill(str(goal))
    card.locator("details").get_by_role("button", name="Resume").click()
    page.page.wait_for_selector(f".tinv-run:has-text('finished step {goal} of {goal}')", timeout=WORK)
    assert job(webui)["steps"] == goal
    same_as_undisturbed(webui, "gizzox", goal)


def same_as_undisturbed(webui: WebUI, name: str, steps: int) -> None:
    """The word's vectors are, bit for bit, those of a run of so many steps without any interruption."""
    begin(webui, name=f"{name}ly", steps=steps)
    until(webui, lambda found: found["name"] == f"{name}ly" and found["status"] == "finished")
    assert torch.equal(vectors(webui, name), vectors(webui, f"{name}ly"))


def test_a_run_waits_for_its_model(webui: WebUI) -> None:
    """Another checkpoint is chosen in mid-run: it pauses and says why; with its own again it goes on."""
    begin(webui, name="gizzoy")
    until_step(webui, 5, "gizzoy")
    toy = webui.get("/sdapi/v1/options")["sd_model_checkpoint"]
    webui.post("/sdapi/v1/options", {"sd_model_checkpoint": server.OTHER})
    found = until(webui, lambda found: found["status"] == "paused")
    assert "tinv-toy" in found["reason"]
    assert "other" in found["reason"]
    webui.post("/sdapi/v1/options", {"sd_model_checkpoint": toy})
    webui.post(f"/tinv/v1/resume?job={found['id']}", {})
    until_step(webui, found["steps"] + 5, "gizzoy")
    webui.post(f"/tinv/v1/stop?job={found['id']}", {})
    steps = until(webui, lambda found: found["status"] == "stopped")["steps"]
    same_as_undisturbed(webui, "gizzoy", steps)


def test_interrupt_is_the_images_or_the_runs(webui: WebUI) -> None:
    """While an image is made it ends the image; otherwise it stops the run, whose word is saved."""
    begin(webui, name="gizzov")
    until_step(webui, 5, "gizzov")
    with ThreadPoolExecutor(1) as aside:
        long = aside.submit(txt2img, webui, PROMPT, count=8, steps=150)
        until_generating(webui)
        webui.post("/sdapi/v1/interrupt", {})
        assert len(long.result()[0]) == 8
    step = job(webui)["steps"]
    assert until_step(webui, step + 5, "gizzov")["status"] == "training"
    webui.post("/sdapi/v1/interrupt", {})
    found = until(webui, lambda found: found["status"] == "stopped")
    assert webui.inside("word", name="gizzov")["step"] == found["steps"]


def until_generating(webui: WebUI) -> None:
    """Until the WebUI says that it draws an image."""
    end = time.monotonic() + PATIENCE
    while not (webui.get("/sdapi/v1/progress?skip_current_image=true")["state"]["sampling_step"] > 3):
        assert time.monotonic() < end
        time.sleep(0.02)
