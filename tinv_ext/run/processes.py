"""Which process this is, and whether another is still running, on every system; nothing is sent to any process."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process that can be told from all others, also from one that gets its number later.

    `boot` is the start of its machine (and its space of process numbers, as each container has one), `started` when it
    began; both are empty where the system does not tell.
    """

    pid: int
    started: str
    host: str
    boot: str


def this_process() -> Process:
    """The one that asks."""
    return Process(os.getpid(), start_of(os.getpid()) or "", socket.gethostname(), _boot())


def start_of(pid: int) -> str | None:
    """When a process of this machine began; None if there is none, empty if the system does not tell."""
    if sys.platform == "win32":
        return _start_on_windows(pid, getattr(ctypes, "windll").kernel32)  # noqa: B009 (only Windows has it)
    if (_PROC / "self" / "stat").is_file():
        return _start_on_linux(pid)
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # somebody else's, so it is there
    try:  # macOS
        told = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return told.stdout.strip()


def boot_time() -> float | None:
    """When this machine was started, in seconds of the clock, if the system tells."""
    try:
        return time.time() - float((_PROC / "uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _boot() -> str:
    try:
        boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self' / 'ns' / 'pid')}"
    except OSError:
        return ""


def _start_on_linux(pid: int) -> str | None:
    """proc(5): after the name in brackets the third field is the state, the 22nd the start in ticks since boot."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # a zombie is over, if not yet buried


def _start_on_windows(pid: int, kernel32: Any) -> str | None:
    query_limited_information, still_active, access_denied = 0x1000, 259, 5
    handle = kernel32.OpenProcess(query_limited_information, False, pid)
    if not handle:
        return "" if kernel32.GetLastError() == access_denied else None
    try:
        code = ctypes.c_ulong()
        if kernel32.GetExitCodeProcess(handle, ctypes.byref(code)) and code.value != still_active:
            return None
        created, ended, in_kernel, in_user = (ctypes.c_ulonglong() for _ in range(4))
        times = [ctypes.byref(one) for one in (created, ended, in_kernel, in_user)]
        return str(created.value) if kernel32.GetProcessTimes(handle, *times) else ""
    finally:
        kernel32.CloseHandle(handle)
