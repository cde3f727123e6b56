"""Where to train, chosen in a real browser; what then trains is a process of its own (tests/server)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.job_fixtures import stopped_in_the_end
from tests.ui.browser import fill, needs_chromium, opened, serving
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.models import open_host
from tinv_ext.scheduler.devices import Device, Slot
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.standalone import app_for

pytestmark = [needs_chromium, pytest.mark.once]
OTHER = Device("other:0", "other:0 a second card", Slot("other:0", "cpu"))


@pytest.fixture
def toy(tmp_path: Path) -> DiffusersHost:
    """A model whose file is known, so that it can be loaded once more."""
    return open_host("toy", tmp_path / "embeddings", device="cpu", precision="fp32")


@pytest.fixture
def jobs(toy: DiffusersHost, tmp_path: Path) -> Iterator[JobQueue]:
    """Jobs of a machine with another device."""
    with stopped_in_the_end(JobQueue(lambda: toy, tmp_path, devices=lambda: [OTHER])) as jobs:
        yield jobs


def test_a_run_is_given_to_another_device(toy: DiffusersHost, jobs: JobQueue, values: dict[str, Any]) -> None:
    """Chosen beside Train, kept over a reload; the run's figures name it. Two actions more than where there is one."""
    with serving(lambda: app_for(toy, jobs)) as address, opened(address, "en-US") as page:
        page.fill("#tinv_images", values["images"])
        fill(page, "name", "zibbo")
        page.wait_for_function("/time/.test(document.querySelector('.tinv-figures-line').textContent)")
        page.select_option("#tinv_device", "other:0")
        page.wait_for_function("!/time/.test(document.querySelector('.tinv-figures-line').textContent)")  # not measured
        page.reload(wait_until="domcontentloaded")
        page.wait_for_function("document.querySelector('#tinv_device')?.value === 'other:0'")
        page.wait_for_selector("#tinv_verdict[data-state=free]")
        page.click("#tinv_train")
        page.wait_for_function("/on other:0/.test(document.querySelector('.tinv-figures')?.textContent)")
        (job,) = jobs.all()
        assert job.device == "other:0"
        jobs.command(job.id, "stop")
        assert jobs.wait(job, 120)
        assert job.status == "stopped"


def test_a_run_of_before_goes_on_on_another_device(toy: DiffusersHost, jobs: JobQueue, values: dict[str, Any]) -> None:
    """Chosen on its card, where it is stopped again."""
    first = jobs.submit({**values, "steps": 2, "output": "textual_inversion"})
    assert jobs.wait(first, 120)
    with serving(lambda: app_for(toy, jobs)) as address, opened(address, "en-US") as page:
        page.get_by_role("tab", name="Runs").or_(page.get_by_role("button", name="Runs", exact=True)).click()
        changed = page.locator(".tinv-run details:has(summary:text-is('Resume with changes'))")
        changed.locator("summary").click()
        changed.get_by_label("Total steps").fill("100000")
        changed.get_by_label("Train on:").select_option("other:0")
        changed.get_by_role("button", name="Resume").click()
        page.wait_for_selector(".tinv-said:has-text('goes on')")
        job = jobs.active()[0]
        assert (job.device, job.config.name) == ("other:0", "zibbo")
        page.click(".tinv-runs ol li:has-text('zibbo') button:has-text('Stop')")
        assert jobs.wait(job, 120)
        assert job.status == "stopped"


def test_where_there_is_one_device_there_is_no_choice(toy: DiffusersHost, tmp_path: Path) -> None:
    """Nothing more to read than before."""
    alone = JobQueue(lambda: toy, tmp_path, devices=list)
    with serving(lambda: app_for(toy, alone)) as address, opened(address, "en-US") as page:
        page.wait_for_selector(".tinv-model[data-ready=true]")
        assert page.locator("#tinv_device").count() == 0
