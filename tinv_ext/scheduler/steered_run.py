"""One run in a process of its own, on a device of its own, told of and steered as if it were a run in this one.

The process is the command line (`tinv train --steered`), which loads the model once more; so nothing that this program
does to its own model reaches it, nor the other way round. It ends with this program: its standard input ends then, and
it saves.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinv_ext.core.errors import HostError
from tinv_ext.core.messages import message
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.printable import valid_json
from tinv_ext.hosts.base import ModelFiles
from tinv_ext.run.events import Event, Prepared, Report, RunControls
from tinv_ext.run.status import Status
from tinv_ext.scheduler.devices import Slot
from tinv_ext.scheduler.event_log import EventReader, event_of
from tinv_ext.scheduler.work_off import last_line
from tinv_ext.scheduler.worker import apart, environment

log = logging.getLogger(__name__)
_POLL = 0.1  # seconds between two looks at what it has told, and at what is asked of it


@dataclass(frozen=True)
class Order:
    """A run as it was prepared here; where it resumes, if so; its model, the folder of embeddings, its device."""

    prepared: PreparedRun
    resumes: Path | None
    model: ModelFiles
    embeddings: Path
    slot: Slot


def carry_out(order: Order, report: Report, controls: RunControls) -> Status:
    """The run to its end, each of its events reported. HostError where its process could not begin, or crashed."""
    with tempfile.TemporaryDirectory(prefix="tinv-run-") as folder:
        return _SteeredRun(order, Path(folder), report, controls).to_its_end()


class _SteeredRun:
    """What goes on between this program and the process."""

    def __init__(self, order: Order, folder: Path, report: Report, controls: RunControls) -> None:
        self._order, self._report, self._controls = order, report, controls
        self._events, self._log, self._settings = (folder / name for name in ("events.jsonl", "log.txt", "run.json"))
        self._reader = EventReader(self._events)
        self._status = Status("preparing", order.prepared.start)
        self._begun = self._paused = self._stopping = False

    def to_its_end(self) -> Status:
        """See `carry_out`."""
        values = self._order.prepared.config.to_dict()
        self._settings.write_text(json.dumps(valid_json(values)), encoding="utf-8")
        with self._log.open("wb") as output, self._started(output) as process:
            try:
                while process.poll() is None:
                    self._hear()
                    self._steer(process)
                    time.sleep(_POLL)
            finally:  # a bug of ours: nobody would steer it any more. The end of its input has it save and end
                if process.stdin:
                    self._close(process.stdin)
                process.wait()
        self._hear()
        return self._ended(process.returncode)

    def _started(self, output: Any) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**environment(), **self._order.slot.environment},
                **apart(),
            )
        except OSError as error:
            reason = error.strerror or str(error)
            told = message("queue.not_begun", "Its process could not be started: {reason}", reason=reason)
            raise HostError(told) from error

    def _command(self) -> list[str]:
        model, slot = self._order.model, self._order.slot
        told = ["--config", str(self._settings), "--model", model.checkpoint, "--device", slot.device]
        told += ["--embeddings", str(self._order.embeddings), "--events", str(self._events)]
        told += ["--vae", str(model.vae)] if model.vae else []
        told += ["--resume", str(self._order.resumes)] if self._order.resumes else []
        return [sys.executable, "-m", "tinv_ext", "train", "--steered", *told]

    def _hear(self) -> None:
        for line in self._reader.new():
            try:
                event = event_of(line, self._order.prepared)
            except (KeyError, TypeError, ValueError) as error:
                log.warning("A line of the run's process was not understood (%s): %s", error, line)
                continue
            if event is not None:
                self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Status):
            self._status = event
            if event.over:
                return  # it is the last word, which is said when the process has ended
        self._begun = self._begun or isinstance(event, Prepared)
        self._report(event)

    def _steer(self, process: subprocess.Popen[bytes]) -> None:
        """Pass on what is asked. Before the run has begun there is nothing to save, so a stop ends the process."""
        controls = self._controls
        if controls.stop.is_set() and not self._stopping:
            if self._begun:
                self._stopping = self._send(process, "stop")
            else:
                self._stopping = True
                process.terminate()
        if controls.pause.is_set() != self._paused:
            self._paused = not self._paused
            self._send(process, "pause" if self._paused else "resume")
        for what in ("snapshot", "preview"):
            if self._begun and controls.take(what):
                self._send(process, what)

    def _send(self, process: subprocess.Popen[bytes], command: str) -> bool:
        try:
            process.stdin.write(f"{command}\n".encode())  # type: ignore[union-attr]  # it is a pipe
            process.stdin.flush()  # type: ignore[union-attr]
        except OSError as error:  # it has ended in this moment, which `poll` will tell
            log.info("%s was not heard: %s", command, error)
        return True

    @staticmethod
    def _close(pipe: Any) -> None:
        try:
            pipe.close()
        except OSError as error:
            log.info("The pipe to a process that had ended was closed: %s", error)

    def _ended(self, code: int) -> Status:
        if self._status.over:
            return self._status
        if self._stopping and not self._begun:
            reason = message("server.stopped_before_it_began", "It was stopped before it began.")
            return Status("stopped", self._status.steps, reason=reason)
        raise HostError(_why(code, self._log))


def _why(code: int, log_file: Path) -> str:
    """Why a process has ended without an end of its run, by what it said last."""
    last = last_line(log_file)
    if code in (2, 4):  # see cli/failures.py: that is a sentence for a person
        return last.removeprefix("- ")
    return message(
        "server.process_crashed",
        "The run's process on the other device has crashed ({code}). The last it said: {last}",
        code=code,
        last=last or "-",
    )
