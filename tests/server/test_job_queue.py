"""Jobs of the server: one at a time, steered from outside, telling the truth about themselves."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.messages import ids, refused, said
from tinv_ext.core.errors import InputError
from tinv_ext.core.formats import read_embedding
from tinv_ext.hosts.base import Host
from tinv_ext.hosts.diffusers.host import DiffusersHost, PipelineModel
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.status import Status
from tinv_ext.server import live_texts
from tinv_ext.server.allowed_paths import allow_only
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.paused_model import with_paused_model
from tinv_ext.server.queued_run import Job
from tinv_ext.webui import _saving_first


@pytest.fixture
def values(values: dict[str, Any]) -> dict[str, Any]:
    """Settings of a short run that is not evaluated."""
    return {**values, "evaluate_every": 0}


def until(true: Callable[[], bool]) -> None:
    """Wait for something to become true, two minutes at most."""
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def endless(values: dict[str, Any]) -> dict[str, Any]:
    """A run that only ends when it is stopped."""
    return {**values, "steps": 100_000, "save_every": 0}


def test_jobs_are_carried_out_one_after_the_other(jobs: JobQueue, values: dict[str, Any]) -> None:
    """The second waits for the first; both finish; a view is JSON and holds the whole curve."""
    first, second = jobs.submit(values), jobs.submit({**values, "name": "zibbo-2"})
    view = second.view()
    assert (view["status"], view["steps"], view["total"]) == ("queued", 0, 5)
    assert jobs.wait(second, 120)
    assert (first.status, second.status) == ("finished", "finished")
    view = json.loads(json.dumps(second.view(since=2)))
    assert (view["steps"], view["total"], [row["step"] for row in view["curve"]]) == (5, 5, [3, 4, 5])


def test_one_that_is_about_to_begin_is_the_current_one(jobs: JobQueue, values: dict[str, Any]) -> None:
    """Whoever has just begun a run sees it at once, and not the one before, though no thread has taken it up yet."""
    before = jobs.submit({**values, "steps": 1})
    assert jobs.wait(before, 120)
    assert jobs.current() is before
    with jobs._changed:  # none can take it up
        one = jobs.submit({**values, "name": "zibb"})
        jobs.submit({**values, "name": "zibc"})
        assert one.status == "queued"
        assert jobs.current() is one


def test_what_cannot_run_is_not_queued(jobs: JobQueue, values: dict[str, Any]) -> None:
    """All problems at once; a name that is being learnt is refused."""
    with pytest.raises(InputError) as told:
        jobs.submit({**values, "name": "cat", "steps": "many", "images": "nowhere"})
    assert len(told.value.problems) == 3
    jobs.submit(endless(values))
    with refused("server.name_in_use", name="zibbo"):
        jobs.submit(values)
    assert len(jobs.all()) == 1


def test_a_word_that_is_being_learnt_is_resumed_by_no_other_run(jobs: JobQueue, values: dict[str, Any]) -> None:
    """Else both end with the same file; nor is it learnt in other capitals, which a file system may take for it."""
    before = jobs.submit(values)
    assert jobs.wait(before, 120)
    folder = RunFolder(Path(str(before.folder)))
    now = jobs.submit({**endless(values), "overwrite": True})
    with refused("server.name_in_use", name="zibbo"):
        jobs.resume(folder.log_directory, folder.id, {"steps": 9})
    with refused("server.name_in_use", name="Zibbo"):
        jobs.submit({**values, "name": "Zibbo", "overwrite": True})
    jobs.command(now.id, "stop")
    assert jobs.wait(now, 120)
    assert jobs.wait(jobs.resume(folder.log_directory, folder.id, {"steps": 9}), 120)


def test_a_paused_job_has_let_go_of_the_model_and_goes_on(
    jobs: JobQueue, values: dict[str, Any], host: DiffusersHost
) -> None:
    """Paused means outside of training: the weights want gradients again. The result is that of an unbroken run."""
    weight = next(host._pipeline.unet.parameters())
    one = jobs.submit({**values, "steps": 40})
    jobs.command(one.id, "pause")
    until(lambda: one.status == "paused")
    assert weight.requires_grad
    stood = one.steps
    time.sleep(0.3)
    assert one.steps == stood < 40
    jobs.command(one.id, "resume")
    assert jobs.wait(one, 120)
    straight = jobs.submit({**values, "steps": 40, "name": "zibbo-2"})
    assert jobs.wait(straight, 120)
    files = (read_embedding(Path(str(done.file))) for done in (one, straight))
    paused, unbroken = (next(iter(file.vectors.values())) for file in files)
    assert torch.equal(paused, unbroken)


def test_stop_saves_and_says_stopped(jobs: JobQueue, values: dict[str, Any]) -> None:
    """Stop and save: the file holds the step that the status says."""
    one = jobs.submit(endless(values))
    until(lambda: one.steps > 2)
    jobs.command(one.id, "stop")
    assert jobs.wait(one, 120)
    assert one.status == "stopped"
    assert read_embedding(Path(str(one.file))).step == one.steps < 100_000
    with refused("server.job_over", status="stopped", what="pause"):
        jobs.command(one.id, "pause")


def test_a_queued_job_can_be_stopped(jobs: JobQueue, values: dict[str, Any], tmp_path: Path) -> None:
    """It never starts and leaves nothing."""
    first = jobs.submit(endless(values))
    second = jobs.submit({**values, "name": "zibbo-2"})
    jobs.command(second.id, "stop")
    jobs.command(first.id, "stop")
    assert jobs.wait(first, 120)
    assert (second.status, second.now.total) == ("stopped", 5)
    assert not (tmp_path / "embeddings" / "zibbo-2.pt").exists()


def test_the_end_of_the_program_saves_what_is_at_work(jobs: JobQueue, values: dict[str, Any]) -> None:
    """The running job is stopped and saved, a queued one is dropped, a new one refused."""
    first, second = jobs.submit(endless(values)), jobs.submit({**values, "name": "zibbo-2"})
    until(lambda: first.steps > 1)
    assert jobs.end() == [first]
    assert (first.now.status, second.status) == ("stopped", "stopped")
    assert read_embedding(Path(str(first.file))).step == first.steps
    assert (Path(str(first.folder)) / "state.safetensors").is_file()
    with refused("server.ends"):
        jobs.submit({**values, "name": "zibbo-3"})


def test_the_end_waits_no_longer_than_it_may(jobs: JobQueue, values: dict[str, Any]) -> None:
    """A step that takes for ever does not hang the end of a program."""
    job = jobs.submit(endless(values))
    until(lambda: job.steps > 1)
    begun = time.monotonic()
    assert jobs.end(0.0) == [job]
    assert time.monotonic() - begun < 5
    assert jobs.wait(job, 120)


def test_a_signal_to_the_webui_saves_first_and_then_does_what_it_did(jobs: JobQueue, values: dict[str, Any]) -> None:
    """Its own handler is called when the run is saved."""
    job = jobs.submit(endless(values))
    until(lambda: job.steps > 1)
    seen: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(job.now.status))
    try:
        signal.signal(signal.SIGTERM, _saving_first(jobs, signal.getsignal(signal.SIGTERM)))
        signal.raise_signal(signal.SIGTERM)
        assert seen == ["stopped"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_pictures_and_copies_come_when_asked_for(jobs: JobQueue, values: dict[str, Any]) -> None:
    """Preview now and Snapshot now, in the middle of a run that makes none by itself."""
    one = jobs.submit({**endless(values), "preview_steps": 2})
    until(lambda: one.steps > 1)
    jobs.command(one.id, "preview")
    jobs.command(one.id, "snapshot")
    until(lambda: bool(one.previews))
    _, path = one.previews[0]
    assert Image.open(path).info["parameters"].startswith("a photo of zibbo")
    (copy,) = (Path(str(one.folder)) / "embeddings").iterdir()
    assert read_embedding(copy).step is not None


def test_a_run_that_breaks_is_failed_and_nothing_else(
    jobs: JobQueue, values: dict[str, Any], host: DiffusersHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in the middle: status failed with the reason, the vectors kept in the run's folder; the next job runs."""
    denoise, calls = PipelineModel.denoise, []

    def broken(model: PipelineModel, *given: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("the sky fell")
        return denoise(model, *given)

    monkeypatch.setattr(PipelineModel, "denoise", broken)
    one = jobs.submit(values)
    after = jobs.submit({**values, "name": "zibbo-2"})
    assert jobs.wait(after, 120)
    assert (one.status, "the sky fell" in one.reason, one.file) == ("failed", True, None)
    assert after.status == "finished"
    status = json.loads((Path(str(one.folder)) / "status.json").read_text())
    assert (status["status"], status["steps"]) == ("failed", one.steps)


def test_a_paused_run_waits_for_whoever_has_its_model(
    jobs: JobQueue, values: dict[str, Any], host: DiffusersHost
) -> None:
    """Neither Resume nor Stop takes the model away in the middle; a run at work, or about to begin, lends nothing."""
    weight = next(host._pipeline.unet.parameters())
    one, after = jobs.submit(endless(values)), jobs.submit({**values, "name": "zibbo-2"})
    until(lambda: one.steps > 1)
    with refused("server.model_busy", name="zibbo"):
        with_paused_model(jobs, lambda host: None)
    for command in ("resume", "stop"):
        jobs.command(one.id, "pause")
        until(lambda: one.status == "paused")
        stood = one.steps
        with refused("server.model_busy", name="zibbo"):
            jobs.with_model(lambda host: None)

        def work(host: Host, command: str = command, stood: int = stood) -> bool:
            jobs.command(one.id, command)
            time.sleep(0.5)
            return one.steps == stood and weight.requires_grad and not one.now.over

        assert with_paused_model(jobs, work)
        if command == "resume":
            until(lambda stood=stood: one.steps > stood)  # type: ignore[misc]
    assert jobs.wait(after, 120)
    assert (one.status, after.status) == ("stopped", "finished")
    assert with_paused_model(jobs, lambda host: 1) == 1


def test_asking_for_the_impossible_is_told(jobs: JobQueue) -> None:
    """An unknown id, an unknown command."""
    with refused("server.no_job", job="none"):
        jobs.command("none", "stop")
    jobs._jobs["x"] = Job("x", None)  # type: ignore[arg-type]
    with refused("server.no_command", what="fly"):
        jobs.command("x", "fly")
    jobs._jobs.clear()


def test_a_log_directory_lies_in_the_programs_home(host: DiffusersHost, values: dict[str, Any], tmp_path: Path) -> None:
    """One that is not absolute, for a run, for the list, for going on, and for what a client may name."""
    home = tmp_path / "home"
    jobs, confine = JobQueue(lambda: host, home), allow_only([home, Path(values["images"])])
    values = {**values, "save_state_every": 5, "output": "mine"}
    one = jobs.submit(values, confine)
    assert jobs.wait(one, 120)
    assert (home / "mine").is_dir()
    (found,) = jobs.runs("mine")
    assert found == {**found, "name": "zibbo", "status": "finished", "can_resume": True}
    assert jobs.runs("") == []
    two = jobs.resume("mine", found["id"], {"steps": 8}, confine)
    assert jobs.wait(two, 120)
    assert jobs.runs("mine")[0]["steps"] == 8
    with refused("server.path_not_allowed", name="output"):
        jobs.resume("mine", found["id"], {"steps": 9, "output": str(tmp_path)}, confine)
    with refused("server.path_not_allowed", name="output"):
        jobs.submit({**values, "output": "../elsewhere"}, confine)


def test_a_run_that_goes_on_keeps_what_it_has_shown(jobs: JobQueue, values: dict[str, Any]) -> None:
    """Curve, evaluations and previews of before are in sight, and the smoothed loss goes on from them."""
    values |= {"evaluate_every": 2, "preview_every": 2, "preview_steps": 1}
    first = jobs.submit(values)
    assert jobs.wait(first, 120)
    before = first.view()
    assert first.folder is not None
    second = jobs.resume(values["output"], jobs.runs(values["output"])[0]["id"], {"steps": 8})
    assert jobs.wait(second, 120)
    now = second.view()
    assert [row["step"] for row in now["curve"]] == list(range(1, 9))
    for row, old in zip(now["curve"], before["curve"]):
        assert row == pytest.approx(old, rel=1e-6)
    assert [step for step, _ in now["evaluations"]][: len(before["evaluations"])] == [
        step for step, _ in before["evaluations"]
    ]
    assert now["previews"][: len(before["previews"])] == before["previews"]
    assert now["previews"][-1] == 8


def test_checks_at_the_same_time_take_turns(jobs: JobQueue, values: dict[str, Any], host: DiffusersHost) -> None:
    """Two that try out steps on one model would each be told something untrue; a run that is queued then waits, too."""
    told: list[object] = []

    def check() -> None:
        try:
            told.append(ids(jobs.examine(values).notices))
        except Exception as error:  # noqa: BLE001 (that is what is looked for)
            told.append(error)

    checks = [threading.Thread(target=check) for _ in range(12)]
    for thread in checks:
        thread.start()
    job = jobs.submit({**values, "name": "zibbo-2"})
    for thread in checks:
        thread.join(120)
    assert jobs.wait(job, 120)
    assert (job.status, job.reason) == ("finished", "")
    assert len(told) == 12
    assert {type(answer) for answer in told} == {list}, told
    assert all("run.gradient_arrives" in answer or "server.not_tried_out" in answer for answer in told)  # type: ignore[operator]


def test_the_reply_tells_the_state_after_the_command(jobs: JobQueue, values: dict[str, Any]) -> None:
    """Pause: paused, without a time that is left; Resume: training; Stop: stopping or stopped."""
    job = jobs.submit(endless(values))
    until(lambda: job.steps > 5)
    assert job.seconds_left is not None
    assert said(live_texts.reply(jobs.command(job.id, "pause"), "pause", jobs), "ui.run_status", status="paused")
    assert job.view()["seconds_left"] is None
    assert said(live_texts.reply(jobs.command(job.id, "resume"), "resume", jobs), "ui.run_status", status="training")
    assert ids(live_texts.reply(jobs.command(job.id, "snapshot"), "snapshot", jobs))[1] == "ui.will_save_snapshot"
    (reply,) = live_texts.reply(jobs.command(job.id, "stop"), "stop", jobs)
    assert said([reply], "ui.run_status", status="stopping") or said([reply], "ui.run_status", status="stopped")


def test_a_command_that_takes_long_is_announced(jobs: JobQueue, values: dict[str, Any], monkeypatch: Any) -> None:
    """A step of a big model may last minutes."""
    monkeypatch.setattr(JobQueue, "obeyed", lambda *_: False)
    job = jobs.submit(endless(values))
    assert ids(live_texts.reply(jobs.command(job.id, "pause"), "pause", jobs)) == ["ui.run_status", "ui.will_pause"]


def test_a_run_that_has_to_wait_is_told_so(jobs: JobQueue, values: dict[str, Any]) -> None:
    """Also in the moment in which the one before it has not begun, and for which one: the last before it."""
    submitted = [jobs.submit({**endless(values), "name": f"zibbo-{index}"}) for index in range(3)]
    replies = [live_texts.taken_on(job, jobs) for job in submitted]
    assert ids(replies) == ["ui.training_started", "ui.run_queued", "ui.run_queued"]
    assert said(replies[2:], "ui.run_queued", current="zibbo-1")
    for job in reversed(submitted):
        jobs.command(job.id, "stop")


def test_a_run_that_is_resumed_is_offered_no_longer(jobs: JobQueue, values: dict[str, Any], tmp_path: Path) -> None:
    """At once, not at the next look."""
    home = JobQueue(jobs._host, tmp_path)
    job = home.submit({**values, "output": "textual_inversion", "save_state_every": 2})
    assert home.wait(job, 120)
    RunFolder(Path(str(job.folder))).write_status(Status("training", 3, total=5))  # as a kill leaves it
    later = JobQueue(jobs._host, tmp_path)
    (offer,) = later.left.interrupted()
    resumed = later.resume("", offer["id"], {"steps": 8})
    assert later.left.interrupted() == []
    assert later.wait(resumed, 120)
    assert later.left.interrupted() == []
