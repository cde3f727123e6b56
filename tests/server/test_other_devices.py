"""Runs on another device, in processes of their own: really the command line, on a CPU that is called another one."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
import torch

from tests.job_fixtures import stopped_in_the_end
from tests.messages import ids, refused
from tinv_ext.core.errors import InputError
from tinv_ext.core.formats import read_embedding
from tinv_ext.hosts.base import Host
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.models import open_host
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.status import OVER
from tinv_ext.scheduler.devices import Device, Slot
from tinv_ext.server import live_texts, other_devices
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.queued_run import Job

OTHER = Device("other:0", "another device", Slot("other:0", "cpu"))
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> DiffusersHost:
    """The toy on the CPU in single precision, as the other process loads it."""
    return open_host("toy", tmp_path_factory.mktemp("toy") / "embeddings", device="cpu", precision="fp32")


@pytest.fixture
def jobs(toy: DiffusersHost, tmp_path: Path) -> Iterator[JobQueue]:
    """Jobs of the toy, with another device beside; all of them stopped in the end."""
    toy.embeddings_folder = tmp_path / "embeddings"
    toy.refresh_embeddings()
    with stopped_in_the_end(JobQueue(lambda: toy, tmp_path, devices=lambda: [OTHER])) as jobs:
        yield jobs


@pytest.fixture
def values(values: dict[str, Any]) -> dict[str, Any]:
    """Settings of a short run in one pass, that is not evaluated."""
    return {**values, "evaluate_every": 0, "save_every": 0}


def until(true: Callable[[], bool]) -> None:
    """Wait for something to become true, two minutes at most."""
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def process_of(job: Job) -> psutil.Process:
    """The process that trains for a job of this one."""
    (found,) = [one for one in psutil.Process().children() if "--steered" in one.cmdline()]
    assert job.status not in OVER
    return found


def test_a_copy_is_trained_while_the_model_itself_is_at_work(
    jobs: JobQueue, values: dict[str, Any], toy: DiffusersHost
) -> None:
    """It does not wait for the run here; curve, previews and vectors are those of a run here, and prompts know it."""
    here = jobs.submit({**values, "name": "zibbo-here", "steps": 100_000})
    shown = {"preview_every": 3, "preview_steps": 2, "evaluate_every": 2, "save_every": 2}
    there = jobs.submit({**values, **shown, "name": "zibbo-there"}, device="other:0")
    assert jobs.ahead_of(there) == []
    assert jobs.wait(there, 240)
    assert (there.status, there.reason, here.status) == ("finished", "", "training")
    assert "zibbo-there" in {word.name for word in toy.known_words()}
    jobs.command(here.id, "stop")
    assert jobs.wait(here, 120)
    same = jobs.submit({**values, **shown, "name": "zibbo-same"})
    assert jobs.wait(same, 120)
    trained, expected = (read_embedding(Path(str(job.file))).vectors for job in (there, same))
    assert all(torch.equal(trained[encoder], expected[encoder]) for encoder in expected)
    assert there.curve == same.curve
    assert there.evaluations == same.evaluations
    assert [step for step, _ in there.previews] == [step for step, _ in same.previews] == [0, 3, 5]
    assert there.prompts == tuple(prompt.replace("same", "there") for prompt in same.prompts)
    view = there.view()
    assert (view["device"], view["snapshots"]) == ("other:0", same.snapshots)
    assert "on other:0" in live_texts.figures(there, view)


def test_it_is_steered_as_any_run(jobs: JobQueue, values: dict[str, Any]) -> None:
    """Pause, resume, snapshot, stop and save; and then it can be resumed, there or here."""
    one = jobs.submit({**values, "steps": 100_000}, device="other:0")
    until(lambda: one.steps > 2)
    jobs.command(one.id, "pause")
    until(lambda: one.status == "paused")
    stood = one.steps
    jobs.command(one.id, "resume")
    until(lambda: one.steps > stood)
    jobs.command(one.id, "snapshot")
    until(lambda: one.snapshots == 1)
    jobs.command(one.id, "stop")
    assert jobs.wait(one, 120)
    assert one.status == "stopped"
    assert read_embedding(Path(str(one.file))).step == one.steps < 100_000
    folder = RunFolder(Path(str(one.folder)))
    assert folder.can_resume
    output, run = str(folder.path.parents[1]), f"{folder.path.parent.name}/{folder.path.name}"
    again = jobs.resume(output, run, {"steps": one.steps + 2}, device="other:0")
    assert jobs.wait(again, 240)
    assert (again.status, again.reason, again.steps) == ("finished", "", one.steps + 2)
    assert [row["step"] for row in again.curve] == list(range(1, one.steps + 3))


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_process_that_dies_is_a_run_that_failed(jobs: JobQueue, values: dict[str, Any]) -> None:
    """With a sentence, and the next one's turn comes; what that process says no to is told in its words."""
    one = jobs.submit({**values, "steps": 100_000}, device="other:0")
    second = jobs.submit({**values, "name": "zibbo-2", "steps": 1}, device="other:0")
    until(lambda: one.steps > 1)
    assert second.status == "queued"
    assert jobs.ahead_of(second) == [one]
    os.rename(values["images"], values["images"] + "-elsewhere")
    process_of(one).send_signal(signal.SIGKILL)
    assert jobs.wait(one, 60)
    assert (one.status, ids([one.reason])) == ("failed", ["server.process_crashed"])
    assert jobs.wait(second, 240)
    assert second.status == "failed"
    assert values["images"] in second.reason
    assert not second.reason.startswith("-")


@pytest.mark.full
@pytest.mark.slow
def test_the_end_of_the_program_saves_it(jobs: JobQueue, values: dict[str, Any], tmp_path: Path) -> None:
    """One that has not begun is ended at once instead, and leaves nothing."""
    early = jobs.submit({**values, "name": "zibbo-2", "steps": 100_000}, device="other:0")
    until(lambda: early.status == "preparing" and bool(psutil.Process().children()))
    jobs.command(early.id, "stop")
    assert jobs.wait(early, 60)
    assert (early.status, ids([early.reason])) == ("stopped", ["server.stopped_before_it_began"])
    assert not (tmp_path / "log").exists()
    one = jobs.submit({**values, "steps": 100_000}, device="other:0")
    until(lambda: one.steps > 1)
    assert jobs.end() == [one]
    assert (one.status, read_embedding(Path(str(one.file))).step) == ("stopped", one.steps)


def test_a_device_that_is_not_there_is_refused(
    jobs: JobQueue, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is any without diffusers; what cannot be drawn there is told beforehand. Nothing is queued."""
    with refused("server.no_other_device", device="cuda:7", there=["other:0"]):
        jobs.submit(values, device="cuda:7")
    notices = jobs.examine(values, device="other:0").notices
    assert "server.not_tried_out_there" in ids(notices)
    find_spec = other_devices.importlib.util.find_spec
    monkeypatch.setattr(
        other_devices.importlib.util, "find_spec", lambda name: None if name == "diffusers" else find_spec(name)
    )
    with refused("server.no_diffusers"):
        jobs.submit(values, device="other:0")
    assert jobs.all() == []


def test_images_are_drawn_there_as_offline(
    toy: DiffusersHost, jobs: JobQueue, values: dict[str, Any], tmp_path: Path
) -> None:
    """A sampling method that only this program has is refused before anything starts."""
    here = other_devices.Elsewhere(toy)
    here.samplers, here.schedulers = ["DDIM", "Heun"], ["Karras"]
    with_more = JobQueue(lambda: cast(Host, here), tmp_path, devices=lambda: [OTHER])
    drawn = {**values, "preview_every": 1, "preview_sampler": "Heun", "preview_scheduler": "Karras"}
    assert with_more.check(drawn).config.preview_sampler == "Heun"
    with pytest.raises(InputError) as told:
        with_more.examine(drawn, device="other:0")
    assert ids(told.value.problems) == ["run.no_such_choice", "run.no_choice"]


def test_the_own_device_is_no_choice(toy: DiffusersHost, tmp_path: Path) -> None:
    """What is offered is what is beside it; nothing as long as no model is loaded."""
    own = Device("cpu", "this one", Slot("cpu", "cpu"))
    devices = lambda: [own, OTHER]  # noqa: E731
    assert JobQueue(lambda: toy, tmp_path, devices=devices).other_devices() == [OTHER]
    assert JobQueue(lambda: toy, tmp_path, is_loaded=lambda: False, devices=devices).other_devices() == []
