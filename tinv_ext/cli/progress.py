"""What the command line shows of a run: a bar with the smoothed loss and the time left, and a line for each event."""

from __future__ import annotations

from types import TracebackType
from typing import IO, Any

from tqdm import tqdm

from tinv_ext.cli.language import say
from tinv_ext.cli.lasting_stream import LastingStream
from tinv_ext.core.messages import Message, message
from tinv_ext.core.training.trainer import Step
from tinv_ext.run.events import Encoded, Evaluated, Event, Generated, Noticed, Prepared, Wrote
from tinv_ext.run.smoothing import SmoothedLoss
from tinv_ext.run.status import Status

_ENCODING = message("run.encoding", "encoding images")
_GENERATING = message("run.generating", "generating images of the class")
_TRAINING = message("run.training", "training")
_SNAPSHOT = message("run.snapshot", "snapshot")
_PREVIEW = message("run.preview", "preview")


class Progress:
    """A listener for `runner.run`, used as a context so that the bar is closed on any exit."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = LastingStream(stream, "What the run does")
        self._bar: Any = None
        self._what = ""
        self._loss = SmoothedLoss()
        self._evaluation = ""
        self._total = 0
        self._pause = (
            0.1 if stream.isatty() else 10.0
        )  # seconds between two updates of the bar: a log file is not a screen

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def report(self, event: Event) -> None:
        """Show one event of a run; nothing any more once the terminal is closed, which ends no run."""
        if not self._stream.closed:
            self._show(event)

    def _show(self, event: Event) -> None:
        if isinstance(event, Prepared):
            self._total, self._loss, self._evaluation = event.prepared.plan.steps, SmoothedLoss(), ""
            for notice in event.prepared.notices:
                self._say(notice)
            self._say(message("run.folder_is", "The run's folder: {path}", path=event.folder.path))
        elif isinstance(event, Noticed):
            self._say(event.text)
        elif isinstance(event, Status):
            if event.status == "paused":
                self._say(
                    message("run.paused", "Paused at step {step}. {reason}", step=event.steps, reason=event.reason)
                )
        elif isinstance(event, Generated):
            self._advance(_GENERATING, event.done, event.total)
        elif isinstance(event, Encoded):
            self._advance(_ENCODING, event.done, event.total)
        elif isinstance(event, Evaluated):
            self._evaluation = f"{event.loss:.5f}"
        elif isinstance(event, Wrote) and event.kind in ("snapshot", "preview"):
            what = _SNAPSHOT if event.kind == "snapshot" else _PREVIEW
            self._say(
                message("run.wrote", "step {step}: {what} {file}", step=event.step, what=what, file=event.path.name)
            )
        elif isinstance(event, Step):
            loss = f"{self._loss.add(event.loss):.4f}"
            self._advance(_TRAINING, event.number, self._total, loss=loss, evaluation=self._evaluation)

    def _advance(self, what: Message, done: int, total: int, **numbers: str) -> None:
        if self._bar is None or self._what != what:
            self._close()
            self._what = what
            self._bar = tqdm(
                desc=what, total=total, initial=done - 1, file=self._stream, dynamic_ncols=True, mininterval=self._pause
            )
        self._bar.set_postfix(numbers, refresh=False)
        self._bar.update(done - self._bar.n)

    def _say(self, text: str) -> None:
        tqdm.write(say(text), file=self._stream)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None
