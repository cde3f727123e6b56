"""Runs that wait are kept on disk, and offered by the program that comes after the one that they waited in."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusers import StableDiffusionPipeline

from tests.job_fixtures import stopped_in_the_end
from tests.messages import refused
from tests.server.test_job_queue import endless, until
from tinv_ext.core.formats import read_embedding
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import runner
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.server import left_runs, waiting_runs
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.waiting_runs import LeftFiles

NAMES = ("zibbo-2", "zibbo-3", "zibbo-4")


@pytest.fixture
def home(host: DiffusersHost, tmp_path: Path) -> Iterator[JobQueue]:
    """A queue whose usual log directory lies below the folder of the test."""
    with stopped_in_the_end(JobQueue(lambda: host, tmp_path)) as jobs:
        yield jobs


@pytest.fixture
def later(home: JobQueue, host: DiffusersHost, tmp_path: Path) -> Iterator[JobQueue]:
    """That of the next program."""
    with stopped_in_the_end(JobQueue(lambda: host, tmp_path)) as jobs:
        yield jobs


@pytest.fixture
def values(values: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Settings of a short run in the usual log directory."""
    return {**values, "evaluate_every": 0, "output": ""}


def kept(home: JobQueue) -> list[str]:
    """The names in the file of a queue."""
    files = list(Path(home.placed("")).glob("waiting/*/runs.json"))
    return [run["name"] for file in files for run in json.loads(file.read_text("utf-8"))["runs"]]


def ended(home: JobQueue, values: dict[str, Any]) -> None:
    """The program ends with one run at work and three that wait."""
    first = home.submit(endless(values))
    for name in NAMES:
        home.submit({**values, "name": name})
    until(lambda: first.steps > 1)
    assert home.end() == [first]
    assert home.left_waiting == len(NAMES)


def test_what_waits_is_kept_until_its_turn_comes(home: JobQueue, values: dict[str, Any]) -> None:
    """In the order of the queue; a run that is stopped is not, and nothing is left when none waits."""
    first = home.submit(endless(values))
    until(lambda: first.steps > 1)
    assert kept(home) == []
    waiting = [home.submit({**values, "name": name}) for name in NAMES]
    assert kept(home) == list(NAMES)
    home.reorder([waiting[2].id])
    assert kept(home) == ["zibbo-4", "zibbo-2", "zibbo-3"]
    home.command(waiting[2].id, "stop")
    assert kept(home) == ["zibbo-2", "zibbo-3"]
    home.command(first.id, "stop")
    assert all(home.wait(job, 120) for job in waiting)
    assert not (Path(home.placed("")) / "waiting").exists()


def test_a_run_whose_turn_comes_is_not_offered_at_any_moment(
    home: JobQueue, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even between the end of the lock and that of its folder."""
    offered, remove = list[Any](), waiting_runs._remove

    def looked_at(folder: Path) -> None:
        offered.append(LeftFiles(Path(home.placed(""))).read())
        remove(folder)

    monkeypatch.setattr(waiting_runs, "_remove", looked_at)
    assert home.wait(home.submit(values), 120)
    assert offered
    assert not any(offered)


def test_a_run_is_kept_until_its_folder_is_there(
    home: JobQueue, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its turn and its folder a kill would leave nothing of it."""
    begins, held, start = threading.Event(), threading.Event(), runner.start

    def waits(*given: Any) -> Any:
        begins.set()
        assert held.wait(60)
        return start(*given)

    monkeypatch.setattr(runner, "start", waits)
    job = home.submit(values)
    assert begins.wait(60)
    assert job.folder is None
    assert kept(home) == ["zibbo"]
    held.set()
    until(lambda: job.folder is not None and not kept(home))


def test_the_next_program_offers_what_waited(home: JobQueue, later: JobQueue, values: dict[str, Any]) -> None:
    """As long as the first is there, nothing; then the three, in their order; one queued again is trained as asked."""
    assert later.left.waited() == []
    ended(home, {**values, "learning_rate": "0.007"})
    later.left._read = -1e9  # the time between two looks has passed
    offers = later.left.waited()
    assert [(offer["name"], offer["steps"], offer["model"]) for offer in offers] == [(one, 5, "tiny") for one in NAMES]
    job = later.left.queue_again(offers[1]["id"])
    assert [offer["name"] for offer in later.left.waited()] == ["zibbo-2", "zibbo-4"]
    assert later.wait(job, 120)
    assert read_embedding(Path(str(job.file))).step == 5
    assert RunFolder(Path(str(job.folder))).config().learning_rate == "0.007"
    with refused("server.not_left"):
        later.left.queue_again(offers[1]["id"])


def test_a_resume_that_waited_keeps_its_changes(home: JobQueue, later: JobQueue, values: dict[str, Any]) -> None:
    """It goes on with the same run."""
    done = home.submit({**values, "name": "zibbo-9", "save_state_every": 2})
    assert home.wait(done, 120)
    first = home.submit(endless(values))
    until(lambda: first.steps > 1)
    home.resume("", RunFolder(Path(str(done.folder))).id, {"steps": 8})
    home.end()
    (offer,) = later.left.waited()
    job = later.left.queue_again(offer["id"])
    assert later.wait(job, 120)
    assert (job.folder, job.steps) == (done.folder, 8)


def test_one_that_is_forgotten_can_be_remembered(home: JobQueue, later: JobQueue, values: dict[str, Any]) -> None:
    """Until the program after that: it removes what nobody wanted."""
    ended(home, values)
    first, *others = later.left.waited()
    later.left.forget(first["id"])
    assert later.left.waited() == others
    later.left.forget(first["id"], yes=False)
    assert later.left.waited() == [first, *others]
    for offer in (first, *others):
        later.left.forget(offer["id"])
    assert len(kept(later)) == 3
    assert JobQueue(later.loaded_host, later.home).left.waited() == []  # type: ignore[arg-type]
    assert kept(later) == []


def test_what_is_against_it_is_said_and_it_stays_offered(
    home: JobQueue,
    later: JobQueue,
    host: DiffusersHost,
    values: dict[str, Any],
    make_pipeline: Callable[[], StableDiffusionPipeline],
) -> None:
    """Another model, images that are gone."""
    ended(home, values)
    offer = later.left.waited()[0]
    later._host = lambda: DiffusersHost(make_pipeline(), host.embeddings_folder, {"model_name": "another"})
    with refused("server.left_for_another_model", wanted="tiny", loaded="another"):
        later.left.queue_again(offer["id"])
    later._host = lambda: host
    images = Path(values["images"])
    images.rename(images.with_name("elsewhere"))
    with refused("images.folder_missing"):
        later.left.queue_again(offer["id"])
    assert later.left.waited()[0] == offer
    assert not later.active()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"runs": {"a": 1}}',
        b'{"runs": [{"name": "a"}]}',
        b'{"runs": [{"id": "a", "steps": "b"}]}',
    ],
)
def test_a_file_that_is_damaged_is_told_once(
    later: JobQueue, content: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left as it is, and nothing else suffers."""
    monkeypatch.setattr(left_runs, "_LOOK", 0.0)
    file = Path(later.placed("")) / "waiting" / "1-a" / "runs.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert [later.left.waited(), later.left.waited()] == [[], []]
    assert len([record for record in caplog.records if "runs.json" in record.getMessage()]) == 1
    assert file.read_bytes() == content


def test_a_disk_that_is_full_keeps_no_run_from_waiting(
    home: JobQueue, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(waiting_runs, "write_json", full)
    first = home.submit(endless(values))
    waiting = [home.submit({**values, "name": name}) for name in NAMES]
    assert [record.getMessage() for record in caplog.records if "not kept" in record.getMessage()] != []
    assert len([record for record in caplog.records if "not kept" in record.getMessage()]) == 1
    home.command(first.id, "stop")
    assert all(home.wait(job, 120) for job in waiting)


def test_what_could_not_be_kept_is_kept_with_the_next_that_waits(
    home: JobQueue, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that has room again; what was never written is not counted as kept."""
    room = threading.Event()
    write = waiting_runs.write_json

    def full_at_first(*given: Any) -> None:
        if not room.is_set():
            raise OSError(28, "No space left on device")
        write(*given)

    monkeypatch.setattr(waiting_runs, "write_json", full_at_first)
    first = home.submit(endless(values))
    until(lambda: first.steps > 1)
    home.submit({**values, "name": "zibbo-2"})
    assert kept(home) == []
    room.set()
    home.submit({**values, "name": "zibbo-3"})
    assert kept(home) == ["zibbo-2", "zibbo-3"]
    room.clear()
    home.submit({**values, "name": "zibbo-4"})
    home.end()
    assert home.left_waiting == len(kept(home)) == 2


def test_the_settings_of_what_waited_can_be_had(home: JobQueue, later: JobQueue, values: dict[str, Any]) -> None:
    """Of a new run as they were asked for; of a resumed one all, with what was to change; of none that is gone."""
    run = home.submit({**values, "name": "zibbo-r", "steps": 2})
    assert home.wait(run, 120)
    first = home.submit(endless(values))
    home.submit({**values, "name": "zibbo-2", "learning_rate": "0.007"})
    home.resume("", RunFolder(Path(str(run.folder))).id, {"steps": 9})
    until(lambda: first.steps > 1)
    home.end()
    new, resumed = (later.left.settings_of(offer["id"]) for offer in later.left.waited())
    assert (new["name"], new["learning_rate"], new["images"]) == ("zibbo-2", "0.007", values["images"])
    assert (resumed["name"], resumed["steps"], resumed["images"]) == ("zibbo-r", 9, values["images"])
    with refused("server.not_left"):
        later.left.settings_of("none")


def test_a_list_that_cannot_be_read_in_this_moment_is_not_written_over(
    home: JobQueue, later: JobQueue, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others would be lost; the run that was queued again is not offered a second time."""
    ended(home, values)
    offers = later.left.waited()
    submit, read = JobQueue.submit, waiting_runs.read_small

    def held_afterwards(*given: Any) -> Any:
        job = submit(*given)
        monkeypatch.setattr(waiting_runs, "read_small", refuses)
        return job

    def refuses(*_: Any) -> bytes:
        raise PermissionError(13, "in use by another program")

    monkeypatch.setattr(JobQueue, "submit", held_afterwards)
    job = later.left.queue_again(offers[0]["id"])
    monkeypatch.setattr(waiting_runs, "read_small", read)
    assert later.left.waited() == offers[1:]
    assert later.wait(job, 120)
    assert set(NAMES) <= set(kept(later))
