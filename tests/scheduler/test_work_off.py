"""A list of runs worked off, with processes that stand in for trainings: outcomes, devices, stopping, going on."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from tests.cli.test_progress import others_can_show
from tests.messages import refused, said
from tests.paths import ROOT
from tinv_ext.cli.queue_progress import QueueProgress
from tinv_ext.run.run_lock import locked
from tinv_ext.scheduler import devices, worker
from tinv_ext.scheduler.devices import Slot, slots_of
from tinv_ext.scheduler.entry import Entry, Todo, todo
from tinv_ext.scheduler.summary import as_json, summary_of
from tinv_ext.scheduler.work_off import Queue, last_line
from tinv_ext.scheduler.worker import Worker

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform == "win32", reason="the processes that stand in for trainings use its signals"),
]
Make = Callable[..., Entry]
CPU = [Slot("cpu", "cpu")]


class Seen:
    """What a display is told."""

    def __init__(self) -> None:
        self.begun_names: list[str] = []
        self.most = 0
        self.told: list[tuple[str, str]] = []

    def begun(self, worker: Worker, todo: Todo) -> None:
        self.begun_names.append(f"{worker.entry.name} {todo.act} {worker.slot.name}")

    def progressed(self, workers: Sequence[Worker]) -> None:
        self.most = max(self.most, len(workers))

    def ended(self, entry: Entry, outcome: str, reason: str) -> None:
        self.told.append((entry.name, outcome))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Entries whose settings files say how the process ends that stands in for the training."""
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)

    def command(entry: Entry, next_one: Todo, slot: Slot) -> list[str]:
        script = str(ROOT / "tests" / "scheduler" / "stand_in.py")
        run = [str(next_one.run)] if next_one.run else []
        return [sys.executable, script, str(entry.file), str(entry.output), str(entry.events), *run]

    monkeypatch.setattr(worker, "command", command)

    def entry(name: str, what: str, digest: str = "x", overwrite: bool = False) -> Entry:
        file = tmp_path / f"{name}.toml"
        file.write_text(what)
        return Entry(file, name, tmp_path / "log", digest, overwrite)

    return entry


def worked_off(entries: Sequence[Entry], slots: Sequence[Slot] = CPU, retry: bool = False) -> tuple[Queue, Seen]:
    """The list when all is done."""
    seen = Seen()
    queue = Queue(list(entries), list(slots), seen, retry)
    queue.work_off(threading.Event())
    return queue, seen


def outcomes(queue: Queue) -> dict[str, str]:
    """Of each entry."""
    return {name: outcome for name, (outcome, _) in queue.outcomes.items()}


def test_a_crash_harms_no_other(make: Make) -> None:
    """One is killed, one fails, the others finish; the summary says so, with reasons, steps and best evaluations."""
    entries = [make("a", "crash"), make("b", "good"), make("c", "bad"), make("d", "good")]
    queue, seen = worked_off(entries, [Slot("cpu #1", "cpu"), Slot("cpu #2", "cpu")])
    assert outcomes(queue) == {"a": "failed", "b": "finished", "c": "failed", "d": "finished"}
    assert seen.most == 2
    rows = summary_of(entries, queue.outcomes)
    assert [(row.name, row.steps, row.total, row.best, row.best_step) for row in rows] == [
        ("a", 1, 9, 0.5, 1),
        ("b", 9, 9, 0.5, 1),
        ("c", 2, 9, 0.5, 1),
        ("d", 9, 9, 0.5, 1),
    ]
    assert "-9" in rows[0].reason
    assert rows[2].reason == "numeric: the loss is not finite"
    assert all(row.seconds > 0 for row in rows)
    assert json.loads(json.dumps(as_json(rows)))["best"] == "a"


def test_the_same_list_goes_on_where_it_was_left(make: Make) -> None:
    """What is finished is skipped, what crashed goes on; what failed waits for --retry-failed."""
    entries = [make("a", "good"), make("b", "crash"), make("c", "bad")]
    worked_off(entries)
    make("b", "good"), make("c", "good")
    queue, seen = worked_off(entries)
    assert seen.begun_names == ["b resume cpu"]
    assert outcomes(queue) == {"a": "finished", "b": "finished", "c": "failed"}
    queue, seen = worked_off(entries, retry=True)
    assert seen.begun_names == ["c resume cpu"]
    assert outcomes(queue) == {"a": "finished", "b": "finished", "c": "finished"}
    assert len(list((entries[0].output / "2026-01-01").iterdir())) == 3, "no run was begun a second time"


def test_changed_settings_are_seen(make: Make) -> None:
    """A finished run with other settings in its file: more steps resume it, with overwrite it begins again."""
    entry = make("a", "good")
    worked_off([entry])
    assert todo(entry).act == "finished"
    changed = todo(make("a", "good", digest="y"))
    assert (changed.act, changed.changed) == ("resume", True)
    assert todo(make("a", "good", digest="y", overwrite=True)).act == "start"
    worked_off([make("c", "bad")])
    assert todo(make("c", "bad")).act == "failed"
    assert todo(make("c", "bad", digest="y")).act == "resume"


def test_stopping_stops_all_resumably(make: Make) -> None:
    """Those that go on save and end, the others are not begun; the next time all go on."""
    entries = [make("a", "wait"), make("b", "wait"), make("c", "good")]
    stop = threading.Event()
    queue = Queue(list(entries), [*CPU, Slot("cpu #2", "cpu")], Seen())
    threading.Thread(target=lambda: (wait_for_steps(entries[:2]), stop.set())).start()
    queue.work_off(stop)
    assert outcomes(queue) == {"a": "stopped", "b": "stopped", "c": "not started"}
    make("a", "good"), make("b", "good")
    queue, seen = worked_off(entries)
    assert seen.begun_names == ["a resume cpu", "b resume cpu", "c start cpu"]
    assert set(outcomes(queue).values()) == {"finished"}


def wait_for_steps(entries: Sequence[Entry]) -> None:
    """Until each has told of a step."""
    end = time.monotonic() + 60
    while not all(entry.events.is_file() and "evaluated" in entry.events.read_text() for entry in entries):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_somebody_else_works_on_is_left_to_them(make: Make) -> None:
    """Another queue, or the process of a queue that was killed, which goes on with its run."""
    entry, other = make("a", "good"), make("b", "crash")
    entry.folder.mkdir(parents=True)
    with locked(entry.folder, print):
        queue, seen = worked_off([entry, other])
    assert (outcomes(queue)["a"], seen.begun_names) == ("running elsewhere", ["b start cpu"])
    run = todo(other).run
    assert run is not None
    with locked(run, print):
        assert todo(other).act == "running elsewhere"
    assert todo(other).act == "resume"


@pytest.mark.parametrize("screen", [False, True])
@pytest.mark.parametrize("writes", [0, 1, 4, 12])
def test_a_closed_terminal_ends_no_run(make: Make, writes: int, screen: bool) -> None:
    """Whenever it is closed, all runs go on to their end."""

    class Closed(io.StringIO):
        """Is gone after so many writes."""

        left = writes

        def isatty(self) -> bool:
            return screen

        def write(self, text: str) -> int:
            self.left -= 1
            if self.left < 0:
                raise BrokenPipeError(32, "Broken pipe")
            return super().write(text)

    entries = [make("a", "good"), make("b", "bad")]
    with QueueProgress(Closed(), len(entries)) as progress:
        queue = Queue(list(entries), list(CPU), progress)
        queue.work_off(threading.Event())
    assert outcomes(queue) == {"a": "finished", "b": "failed"}
    assert others_can_show()


def test_what_a_run_says_is_kept(make: Make) -> None:
    """A log for each; a half line that a crash has left does not swallow the next."""
    entry = make("a", "bad")
    entry.folder.mkdir(parents=True)
    entry.events.write_text('{"event": "prep')
    worked_off([entry])
    assert last_line(entry.log) == "None None"
    assert todo(entry).act == "failed"
    assert last_line(entry.log.with_name("none.txt")) == ""


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with three CUDA devices."""
    monkeypatch.setattr(devices, "_cuda_devices", lambda: ["cuda:0", "cuda:1", "cuda:2"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("cards")
def test_each_process_sees_its_own_device_alone(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has, or a scheduler leaves of it; on the CPU they share the cores."""
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots_of("", 1)] == ["0", "1", "2"]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots_of("2, cuda:0", 2)] == ["2", "0", "2", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-7f,9")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    slots = slots_of("1", 1)
    assert [(slot.name, slot.device) for slot in slots] == [("cuda:1", "cuda")]
    worked_off([make("a", "good")], slots)
    assert last_line(queue_log(make)) == "GPU-7f 5"
    monkeypatch.setattr(devices, "_cores", lambda: 8)
    assert slots_of("cpu", 2)[0].environment == {}
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert [slot.environment["OMP_NUM_THREADS"] for slot in slots_of("cpu", 3)] == ["2", "2", "2"]
    assert slots_of("cpu", 1) == [Slot("cpu", "cpu")]


def queue_log(make: Make) -> Path:
    """The log of entry "a"."""
    return make("a", "good").log


@pytest.mark.usefixtures("cards")
def test_devices_that_are_not_there_are_refused() -> None:
    """All problems together."""
    with refused("queue.no_device", device="cuda:3") as caught:
        slots_of("3,0,cuda:0", 1)
    assert said(caught.value.problems, "queue.device_twice", device="cuda:0")
    with refused("queue.jobs"):
        slots_of("", 0)


def test_without_cuda_there_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual place."""
    monkeypatch.setattr(devices, "_cuda_devices", list)
    assert slots_of("", 1) == [Slot("cpu", "cpu")]
    assert os.environ.get("CUDA_VISIBLE_DEVICES") is None


def test_cards_that_this_torch_cannot_use_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their driver is too old, say: they are counted all the same, but nothing more can be asked of them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.cuda_devices() == []
    assert slots_of("", 1) == [Slot("cpu", "cpu")]
