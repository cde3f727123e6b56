"""A run in a process of its own, which is this very command line: a crash of it harms no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinv_ext.core.atomic import make_folder
from tinv_ext.run.run_lock import locked
from tinv_ext.scheduler.devices import Slot
from tinv_ext.scheduler.entry import RESUME, Entry, Known, Todo
from tinv_ext.scheduler.event_log import EventLog

_WINDOWS = sys.platform == "win32"


@dataclass
class Worker:
    """The process of an entry, and what it has told so far."""

    entry: Entry
    slot: Slot
    process: subprocess.Popen[bytes]
    known: Known
    holding: ExitStack
    began: float

    @property
    def code(self) -> int | None:
        """The exit code; None while it goes on. Negative: the signal that ended it."""
        return self.process.poll()

    def stop(self) -> None:
        """Ask it to finish its step, save and end."""
        self._send(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))

    def abort(self) -> None:
        """Ask it to end without finishing its step."""
        self._send(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGINT))

    def _send(self, number: int) -> None:
        if self.process.poll() is None:  # its number is not given to another process before that
            self.process.send_signal(number)

    def end(self) -> None:
        """Note that it is over, and let go of its entry."""
        seconds = time.monotonic() - self.began
        EventLog(self.entry.events).add("ended", code=self.process.returncode, seconds=round(seconds, 1))
        self.known.read()
        self.holding.close()


def begin(entry: Entry, todo: Todo, slot: Slot) -> Worker:
    """Start the process of an entry. `InputError` if somebody else works on it, OSError if it cannot be started."""
    make_folder(entry.folder)
    with ExitStack() as holding:
        events = EventLog(entry.events)
        holding.enter_context(locked(entry.folder, lambda text: events.add("notice", text=text)))
        events.add("begun", act=todo.act, digest=entry.digest, file=entry.file.absolute(), device=slot.name)
        with entry.log.open("ab") as output:
            process = subprocess.Popen(
                command(entry, todo, slot),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**environment(), **slot.environment},
                **apart(),
            )
        return Worker(entry, slot, process, Known(entry.events).read(), holding.pop_all(), time.monotonic())


def command(entry: Entry, todo: Todo, slot: Slot) -> list[str]:
    """The command line of an entry's process."""
    resuming = ["--resume", str(todo.run)] if todo.act == RESUME else []
    told = ["--config", str(entry.file), "--output", str(entry.output), "--device", slot.device]
    return [sys.executable, "-m", "tinv_ext", "train", *told, "--events", str(entry.events), *resuming]


def environment() -> dict[str, str]:
    """This process' environment, in which its own package is found also where nobody has installed it."""
    here, paths = str(Path(__file__).resolve().parents[2]), sysconfig.get_paths()
    if here in (paths["purelib"], paths["platlib"]):
        return dict(os.environ)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))}


def apart() -> dict[str, Any]:
    """In a group of its own: Ctrl-C in the terminal reaches this process alone, which then stops the others."""
    if _WINDOWS:
        return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    return {"start_new_session": True}
