"""What `tinv queue` shows: on a screen a bar for the list and one for each run that goes on, in a log lines alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import IO, Any

from tqdm import tqdm

from tinv_ext.cli.language import say
from tinv_ext.cli.lasting_stream import LastingStream
from tinv_ext.core.messages import Message, message
from tinv_ext.core.printable import printable
from tinv_ext.scheduler.entry import FAILED, FINISHED, RESUME, STOPPED, WAITING, Entry, Todo
from tinv_ext.scheduler.worker import Worker

_EVERY = 60.0  # seconds between two looks at all runs in a log
_OUTCOMES = {
    FINISHED: message("queue.finished", "finished"),
    STOPPED: message("queue.stopped", "stopped"),
    FAILED: message("queue.failed_word", "failed"),
    WAITING: message("queue.waiting", "not started"),
}
_ELSEWHERE = message("queue.elsewhere", "running elsewhere")


def outcome_word(outcome: str) -> Message:
    """An outcome as people read it."""
    return _OUTCOMES.get(outcome, _ELSEWHERE)


class QueueProgress:
    """Shows a list being worked off; a context, so that the bars are closed on any exit.

    Where nobody sees it any more (a closed terminal or pipe), that stops nothing.
    """

    def __init__(self, stream: IO[str], total: int) -> None:
        self._stream, self._total, self._done = LastingStream(stream, "How far the runs are"), total, 0
        self._screen = stream.isatty()
        self._bars: dict[str, Any] = {}
        self._told = time.monotonic()
        self._list: Any = None
        if self._screen:
            self._list = self._bar(say(message("queue.runs", "runs")), total, 0)

    def __enter__(self) -> QueueProgress:
        return self

    def __exit__(self, *error: object) -> None:
        for bar in self._all_bars():
            bar.close()

    def _all_bars(self) -> list[Any]:
        return [*self._bars.values(), *([self._list] if self._list is not None else [])]

    def begun(self, worker: Worker, todo: Todo) -> None:
        """A process has been started."""
        values = {"name": worker.entry.name, "device": worker.slot.name}
        if todo.act == RESUME:
            self._say(message("queue.resumes", "{name} resumes on {device}.", **values))
        else:
            self._say(message("queue.begins", "{name} begins on {device}.", **values))
        if self._screen:
            self._bars[worker.entry.name] = self._bar(printable(worker.entry.name), None, len(self._bars) + 1)

    def progressed(self, workers: Sequence[Worker]) -> None:
        """How far each is."""
        if self._screen:
            for worker in workers:
                self._advance(self._bars[worker.entry.name], worker)
        elif time.monotonic() - self._told >= _EVERY:
            self._told = time.monotonic()
            for worker in workers:
                self._say(_standing(worker))

    def ended(self, entry: Entry, outcome: str, reason: str) -> None:
        """An entry has its outcome."""
        self._done += 1
        bar = self._bars.pop(entry.name, None)
        if bar is not None:
            bar.close()
        values = {"done": self._done, "total": self._total, "name": entry.name, "outcome": outcome_word(outcome)}
        told = message("queue.ended", "[{done}/{total}] {name}: {outcome}.", **values)
        if reason:
            told = message("queue.ended_why", "[{done}/{total}] {name}: {outcome}. {reason}", **values, reason=reason)
        self._say(told)
        if self._screen:
            self._list.update(1)

    def _bar(self, name: str, total: int | None, place: int) -> Any:
        return tqdm(desc=name, total=total, position=place, file=self._stream, dynamic_ncols=True, leave=False)

    def _advance(self, bar: Any, worker: Worker) -> None:
        known = worker.known
        if known.steps and bar.total != known.steps:
            bar.reset(known.steps)
            bar.initial = bar.n = known.step
        bar.set_postfix(_numbers(worker), refresh=False)
        bar.update(known.step - bar.n)

    def _say(self, text: str) -> None:
        tqdm.write(printable(say(text)), file=self._stream)


def _standing(worker: Worker) -> Message:
    known = worker.known
    if not known.step:
        return message("queue.preparing", "{name}: preparing.", name=worker.entry.name)
    numbers = [f"{name} {value}" for name, value in _numbers(worker).items()]
    return message(
        "queue.standing",
        "{name}: step {step} of {steps}. {numbers:, }",
        name=worker.entry.name,
        step=known.step,
        steps=known.steps,
        numbers=numbers,
    )


def _numbers(worker: Worker) -> dict[str, str]:
    known = worker.known
    numbers = {"loss": known.loss, "evaluation": known.evaluation}
    return {name: f"{value:.4f}" for name, value in numbers.items() if isinstance(value, float)}
