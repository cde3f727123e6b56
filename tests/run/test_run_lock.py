"""A run belongs to one process at a time: who holds it, when a lock no longer counts, and that two cannot have it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.messages import refused, said
from tinv_ext.core.errors import InputError
from tinv_ext.run import processes, run_lock
from tinv_ext.run.processes import start_of, this_process
from tinv_ext.run.run_lock import FILE, RunLock, TakenOverError, locked, owner_of, refuse_if_running


def no_listener(text: str) -> None:
    """Nobody is told."""
    raise AssertionError(text)


def left(folder: Path, age: float = 0.0, **other: Any) -> Path:
    """A lock that somebody left, of this process but for what is `other`, touched so many seconds ago."""
    mine = this_process()
    values = {"pid": mine.pid, "started": mine.started, "host": mine.host, "boot": mine.boot, "token": "0123"}
    path = folder / FILE
    path.write_text(json.dumps({**values, **other}))
    os.utime(path, (time.time() - age,) * 2)
    return path


def over() -> int:
    """The number of a process that is over."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_run_is_held_and_let_go(tmp_path: Path) -> None:
    """While held it names this process and refuses another; afterwards there is no lock."""
    with locked(tmp_path, no_listener):
        owner = owner_of(tmp_path)
        assert owner
        assert (owner.process.pid, owner.process.host) == (os.getpid(), socket.gethostname())
        with refused("run.in_use", run=tmp_path.name, pid=os.getpid(), host=socket.gethostname()):
            refuse_if_running(tmp_path)
        with refused("run.in_use"), locked(tmp_path, no_listener):
            pass
        assert owner_of(tmp_path) == owner
    assert owner_of(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_process_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    """Killed, buried or not, or another with its number: the lock does not count, and is replaced."""
    left(tmp_path, pid=over())
    assert owner_of(tmp_path) is None
    left(tmp_path, started="1")  # as if this process had got the number of one from before
    assert owner_of(tmp_path) is None
    with locked(tmp_path, no_listener):
        assert owner_of(tmp_path)
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    started = start_of(zombie.pid) or "?"
    until = time.monotonic() + 60
    while start_of(zombie.pid) is not None and time.monotonic() < until:
        time.sleep(0.02)
    left(tmp_path, pid=zombie.pid, started=started)
    assert owner_of(tmp_path) is None
    zombie.wait()


def test_a_process_that_is_there_holds_its_run_however_long_it_says_nothing(tmp_path: Path) -> None:
    """A machine that slept for a day has not lost its run."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        left(tmp_path, 86400, pid=process.pid, started=start_of(process.pid))
        with refused("run.in_use", pid=process.pid):
            refuse_if_running(tmp_path)
    finally:
        process.kill()
        process.communicate()
    refuse_if_running(tmp_path)


@pytest.mark.parametrize(("age", "held"), [(5, True), (100, True), (130, False), (86400, False)])
def test_another_machine_holds_its_run_as_long_as_it_touches_the_lock(age: float, held: bool, tmp_path: Path) -> None:
    """Over a shared disk nobody can look at its processes."""
    left(tmp_path, age, host="elsewhere", boot="another", pid=over())
    assert (owner_of(tmp_path) is not None) == held


def test_a_lock_from_before_a_reboot_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the reboot took no longer than a touch, and another process has the number."""
    left(tmp_path, 30, boot="the boot before")
    monkeypatch.setattr(run_lock, "boot_time", lambda: time.time() - 10)
    assert owner_of(tmp_path) is None
    monkeypatch.setattr(run_lock, "boot_time", lambda: time.time() - 1000)  # another machine of the same name
    assert owner_of(tmp_path) is not None


def test_a_lock_that_cannot_be_read_counts_for_a_moment(tmp_path: Path) -> None:
    """It is being written, or a crash cut it short."""
    for content in ("", "{", "[]", "\0\0\0", '{"pid": "x"}'):
        path = left(tmp_path)
        path.write_text(content)
        assert owner_of(tmp_path) is not None
        os.utime(path, (time.time() - 60,) * 2)
        assert owner_of(tmp_path) is None
        with locked(tmp_path, no_listener):
            assert owner_of(tmp_path)


def test_of_many_who_want_a_stale_run_one_gets_it(tmp_path: Path) -> None:
    """Threads that all find the lock of a killed process at once."""
    for _ in range(20):
        left(tmp_path, pid=over() if _ == 0 else 2**22 + 1)
        got, ready, done = list[int](), threading.Barrier(6), threading.Barrier(6)

        def want(number: int, got: list[int] = got, ready: Any = ready, done: Any = done) -> None:
            ready.wait()
            try:
                with locked(tmp_path, no_listener):
                    got.append(number)
                    done.wait()
            except InputError:
                done.wait()

        threads = [threading.Thread(target=want, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(got) == 1


def test_a_run_that_was_taken_over_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent for too long on a shared disk, it finds the lock of another; deleted with its folder, it comes back."""
    monkeypatch.setattr(run_lock, "TOUCHED_EVERY", 0.02)
    with locked(tmp_path, no_listener) as lock:
        (tmp_path / FILE).unlink()
        until = time.monotonic() + 30
        while not (tmp_path / FILE).exists() and time.monotonic() < until:
            time.sleep(0.02)
        lock.refuse_if_lost()
        (tmp_path / FILE).unlink()
        left(tmp_path, host="elsewhere")
        while not lock.lost and time.monotonic() < until:
            time.sleep(0.02)
        with refused("run.taken_over", TakenOverError):
            lock.refuse_if_lost()
    assert (tmp_path / FILE).exists()  # it is the other's


def test_where_no_lock_can_be_written_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its owner is told."""

    def full(lock: RunLock) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunLock, "create", full)
    told: list[str] = []
    with locked(tmp_path, told.append):
        assert said(told, "run.no_lock", reason="No space left on device")


def kernel32(code: int = 259, error: int = 0) -> Any:
    """Windows' calls for one process, number 7: running (259) or over, and its own or somebody else's (error 5)."""
    closed: list[int] = []

    def exit_code(handle: int, to: Any) -> int:
        to._obj.value = code
        return 1

    def times(handle: int, created: Any, *others: Any) -> int:
        created._obj.value = 133500000000000000
        return 1

    return SimpleNamespace(
        OpenProcess=lambda access, inherit, pid: 55 if pid == 7 and not error else 0,
        GetLastError=lambda: error or 87,
        GetExitCodeProcess=exit_code,
        GetProcessTimes=times,
        CloseHandle=closed.append,
        closed=closed,
    )


def test_windows_is_asked_without_touching_the_process() -> None:
    """os.kill(pid, 0) would end it there; by fault injection, as CI is Linux."""
    start = processes._start_on_windows
    there, gone = kernel32(), kernel32(code=0)
    assert (start(7, there), start(8, there), start(7, gone)) == ("133500000000000000", None, None)
    assert start(7, kernel32(error=5)) == ""  # another user's
    assert (there.closed, gone.closed) == ([55], [55])
