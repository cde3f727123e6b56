"""What a run in another process tells, read here as the events that they were there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from tinv_ext.core.messages import message, translated
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.training.trainer import Step
from tinv_ext.run.events import Encoded, Evaluated, Event, Generated, Noticed, Prepared, Wrote
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.status import Status
from tinv_ext.scheduler.event_log import EventLog, EventReader, event_of

PREPARED = cast(PreparedRun, "the run as it was checked here")
EVENTS: list[Event] = [
    Encoded(2, 3),
    Generated(0, 4),
    Evaluated(10, 0.25, 5),
    Noticed(7, 'Ein "Satz" — 句子'),
    Wrote("preview", 5, Path("/runs/a b/zibbo-5.png")),
    Status("training", 3, None, "", 10, None),
    Status("finished", 10, "/embeddings/zibbo.pt", "because", 10, 8),
    Step(3, 0.5, 0.005, 1.5, 0.4, 0.1, ("a photo of zibbo", "zibbo, 红"), 1),
]


def heard(tmp_path: Path, events: list[Event], every: float = 0) -> list[Event | None]:
    """The events after they were written as lines and read again."""
    log = EventLog(tmp_path / "events.jsonl", every)
    for event in events:
        log.report(event)
    return [event_of(line, PREPARED) for line in EventReader(tmp_path / "events.jsonl").new()]


def test_every_event_comes_back_as_it_was(tmp_path: Path) -> None:
    """All kinds of them, with words in any script."""
    assert heard(tmp_path, EVENTS) == EVENTS


def test_the_run_that_was_prepared_is_the_one_of_here(tmp_path: Path) -> None:
    """Only its folder is told."""
    EventLog(tmp_path / "events.jsonl").add("prepared", run=tmp_path / "run", steps=3)
    (line,) = EventReader(tmp_path / "events.jsonl").new()
    event = event_of(line, PREPARED)
    assert isinstance(event, Prepared)
    assert (event.prepared, event.folder.path) == (PREPARED, tmp_path / "run")
    assert isinstance(event.folder, RunFolder)


def test_a_sentence_can_still_be_said_in_another_language(tmp_path: Path) -> None:
    """Its id and values travel with it, those that are messages or paths as well; the plain text is there, too."""
    reason = message("run.stopped_by", "{why}: {count:step|steps}", why=message("x.y", "done"), count=2, at=tmp_path)
    (status,) = heard(tmp_path, [Status("stopped", 2, None, reason, 4, None)])
    assert isinstance(status, Status)
    assert status.reason == "done: 2 steps"
    assert cast(Any, status.reason).id == "run.stopped_by"
    assert translated(status.reason, "zh_CN") == "done: 2 steps"  # of ids that have no translation
    line = json.loads((tmp_path / "events.jsonl").read_text(encoding="utf-8"))
    assert line["reason"] == "done: 2 steps"


def test_a_loss_that_is_no_number_stays_none(tmp_path: Path) -> None:
    """JSON has no word for it."""
    (event,) = heard(tmp_path, [Evaluated(1, float("nan"), 0)])
    assert isinstance(event, Evaluated)
    assert event.loss != event.loss


def test_a_sentence_whose_values_json_cannot_hold_is_said_as_it_was(tmp_path: Path) -> None:
    """Infinity is no number there, and its template wants one."""
    said = message("x.loss", "loss {loss:.2f}", loss=float("inf"))
    assert heard(tmp_path, [Noticed(1, said)]) == [Noticed(1, "loss inf")]


def test_of_steps_only_some_are_told_unless_all_are_asked_for(tmp_path: Path) -> None:
    """`tinv queue` looks twice a second; a page draws every step."""
    steps: list[Event] = [Step(number, 0.5, 0.1, 1.0, 1.0, 0.0, ()) for number in range(1, 6)]
    assert len(heard(tmp_path, steps, every=60)) == 1


@pytest.mark.parametrize("line", [{"event": "begun"}, {"event": "of another version"}])
def test_what_is_no_event_of_a_run_is_not_heard(line: dict[str, Any]) -> None:
    """The queue writes lines of its own into such a file."""
    assert event_of(line, PREPARED) is None
