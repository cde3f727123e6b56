"""A run belongs to one process at a time: while it goes on, its folder has a lock that says whose it is.

The lock names the process and is touched every few seconds. On the same machine it counts as long as that process is
there (not another that has got its number, not one from before a reboot); from another machine, over a shared disk, as
long as it is touched.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.messages import message
from tinv_ext.core.small_files import parse_json, read_small
from tinv_ext.run.processes import Process, boot_time, start_of, this_process

log = logging.getLogger(__name__)
FILE = "run.lock"
TOUCHED_EVERY = 10.0  # seconds
COUNTS_FOR = 120.0  # seconds after the last touch, where the process itself cannot be looked at
_HALF_WRITTEN = 5.0  # seconds in which a lock that cannot be read may be one that is being written
_PATIENCE, _GLANCE = 5.0, 0.02  # seconds in which a lock can be had, and between two tries
_GUARDED = 30.0  # seconds after which a guard was left behind by a killed process
_MINE: set[str] = set()  # tokens of the locks that this process holds


class TakenOverError(HostError):
    """Another program has the run now: nothing of it may be written here any more."""


@dataclass(frozen=True)
class Owner:
    """What a lock says: whose it is, and when it was touched last."""

    process: Process
    token: str
    touched: float

    @property
    def there(self) -> bool:
        """Whether the process still holds its run."""
        mine = this_process()
        if (self.process.host, self.process.boot) == (mine.host, mine.boot):
            if self.process.pid == mine.pid and self.process.started == mine.started:
                return self.token in _MINE
            started = start_of(self.process.pid)
            if started is not None and started and self.process.started:
                return started == self.process.started
            return started is not None and self._touched_lately
        booted = boot_time()
        if self.process.host == mine.host and booted is not None and self.touched < booted:
            return False  # from before a reboot
        return self._touched_lately

    @property
    def _touched_lately(self) -> bool:
        return time.time() - self.touched < COUNTS_FOR


def owner_of(folder: Path) -> Owner | None:
    """Who holds a run now; None if nobody does."""
    owner = _read(folder / FILE)
    return owner if owner and owner.there else None


def refuse_if_running(folder: Path) -> None:
    """`InputError` with the run's name and the process that holds it, if one does."""
    _refuse(_read(folder / FILE), folder)


def _refuse(owner: Owner | None, folder: Path) -> None:
    if owner and owner.there:
        raise InputError(
            message(
                "run.in_use",
                'The run "{run}" is running in another program (process {pid} on {host}). Stop it there, or wait until '
                "it has ended.",
                run=folder.name,
                pid=owner.process.pid,
                host=owner.process.host,
            )
        )


@dataclass
class RunLock:
    """The lock of a run that this process holds."""

    path: Path
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    lost: bool = False
    _over: threading.Event = field(default_factory=threading.Event)

    def refuse_if_lost(self) -> None:
        """`TakenOverError` if another program has found this one silent for too long and taken the run."""
        if self.lost:
            raise TakenOverError(
                message(
                    "run.taken_over",
                    "Another program has taken over this run. It ends here, and nothing more is written.",
                )
            )

    def touch(self) -> None:
        """Show that the process is there; where the folder was deleted and made again, so is the lock."""
        owner = _read(self.path)
        if owner is None:
            with suppress(OSError):  # the folder is gone, or the disk full: there is a next time
                self.create()
        elif owner.token != self.token:
            self.lost = True
        else:
            os.utime(self.path)

    def create(self) -> None:
        """Write the file. FileExistsError if there is one."""
        self.write(self.path)

    def write(self, path: Path) -> None:
        """Write what says that this process holds the run into a new file."""
        with open(path, "x", encoding="utf-8") as file:
            file.write(json.dumps({**asdict(this_process()), "token": self.token}, ensure_ascii=False))

    def hold(self) -> None:
        """Touch it until it is `released`; for a thread of its own."""
        while not self._over.wait(TOUCHED_EVERY):
            try:
                self.touch()
            except OSError as error:
                log.warning("%s could not be touched: %s", self.path, error)

    def release(self) -> None:
        """Let go of the run."""
        self._over.set()
        _MINE.discard(self.token)
        owner = _read(self.path)
        if owner and owner.token == self.token:
            with suppress(OSError):  # held by a virus scanner, say: it no longer counts, as this process lets go of it
                self.path.unlink()


@contextmanager
def locked(folder: Path, tell: Callable[[str], None]) -> Iterator[RunLock]:
    """Hold a run. `InputError` if another process does; where no lock can be written, the run goes on without one."""
    lock = RunLock(folder / FILE)
    try:
        _take(lock, folder)
    except OSError as error:
        tell(
            message(
                "run.no_lock",
                "It could not be marked that this run is going on ({reason}). Do not resume it in another program.",
                reason=error.strerror or str(error),
            )
        )
        yield lock
        return
    try:
        threading.Thread(target=lock.hold, name="tinv-lock", daemon=True).start()
        yield lock
    finally:
        lock.release()


def _take(lock: RunLock, folder: Path) -> None:
    """Create it, or put it in the place of one that no longer counts."""
    _MINE.add(lock.token)
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:  # somebody else may be doing the same
        try:
            lock.create()
            return
        except FileExistsError:
            refuse_if_running(folder)
        if _replace_stale(lock):
            return
        time.sleep(_GLANCE)
    refuse_if_running(folder)
    raise FileExistsError(f"{lock.path} comes back again and again")


def _replace_stale(lock: RunLock) -> bool:
    """Put the lock in the place of a stale one; False if somebody else is at it, or has been.

    A guard, a file that only one can create, lets one at a time judge and replace the lock, which is there throughout.
    """
    guard = lock.path.with_name(f".{FILE}.guard")
    try:
        with open(guard, "x"):
            pass
    except FileExistsError:
        with suppress(OSError):  # gone meanwhile
            if time.time() - guard.stat().st_mtime > _GUARDED:  # left behind by a process that was killed
                guard.unlink()
        return False
    try:
        owner = _read(lock.path)
        if owner is None or owner.there:
            return False
        new = lock.path.with_name(f".{FILE}.{secrets.token_hex(4)}.tmp")
        lock.write(new)
        os.replace(new, lock.path)
        return True
    finally:
        guard.unlink(missing_ok=True)


def _read(path: Path) -> Owner | None:
    """What a lock says. One that cannot be read is being written at the moment, or was cut short by a crash."""
    try:
        touched = path.stat().st_mtime
        text = read_small(path).decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read: %s", path, error)
        return None
    try:
        values = parse_json(text)
        process = Process(int(values["pid"]), str(values["started"]), str(values["host"]), str(values["boot"]))
        return Owner(process, str(values["token"]), touched)
    except (ValueError, KeyError, TypeError):
        being_written = time.time() - touched < _HALF_WRITTEN
        return Owner(Process(0, "", "?", "?"), "", touched - (0 if being_written else COUNTS_FOR))
