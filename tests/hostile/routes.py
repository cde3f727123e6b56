"""The routes over a host of a few lines: folders that are open, others that are not, and a watch over every file."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from PIL import Image

from tests.fake_host import FakeHost
from tests.paths import ROOT
from tinv_ext.core.errors import InputError
from tinv_ext.library.library import Library
from tinv_ext.server import api
from tinv_ext.server.allowed_paths import allow_only
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.same_origin import SameOrigin

_CHANGES = ("mkdir", "rmdir", "remove", "rename", "link", "symlink")
_EVENTS = ("open", "os.listdir", "os.scandir", *(f"os.{name}" for name in _CHANGES))
_OF_PYTHON = [os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), ROOT)]
# Who holds a run and since when; the cache of compiled code that torch makes when it is imported.
_OWN = re.compile(
    r"/proc/(\d+/stat|sys/kernel/random/boot_id)|.*/torchinductor_\w+|.*/tinv-(added|converted)-\w+(/.*)?"
)
_watched: list[tuple[list[str], list[str]]] = []  # folders that are open, and what was touched elsewhere


class Served:
    """An app with the routes, all of them, below a folder: `open` may be used by clients, `closed` may not."""

    def __init__(self, folder: Path) -> None:
        self.home, self.closed = folder / "open", folder / "closed"
        for place in (self.home / "images", self.closed):
            place.mkdir(parents=True)
            for colour in ("red", "green"):
                Image.new("RGB", (64, 64), colour).save(place / f"{colour}.png")
        (self.home / "link").symlink_to(self.closed)
        self.queue = JobQueue(lambda: FakeHost(self.home / "embeddings"), self.home)
        self.app = FastAPI()
        library = Library(self.home / "embeddings", lambda: FakeHost(self.home / "embeddings"), self.queue.logs)
        api.add_routes(self.app, self.queue, True, None, allow_only([self.home]), library=library)
        self.app.add_middleware(SameOrigin, hosts=["testserver"], uploads=str(self.home / "uploads"))

    def places(self) -> list[str]:
        """Paths that a client could name: those that are open, and ways to those that are not."""
        closed = [str(self.closed), "../closed", str(self.home / "link"), str(self.home / "images/../../closed")]
        outside = ["/etc/passwd", "/dev/zero", "/proc/self/environ", "//server/share", "\\\\?\\C:\\x", "~root", "/"]
        return [str(self.home / "images"), "images", "", ".", *closed, *outside, "a\0b", "\ud800", "x" * 5000, "nul"]

    def values(self) -> dict[str, Any]:
        """Settings of a run that takes no time."""
        paths = {"images": str(self.home / "images"), "output": str(self.home / "log")}
        return {"name": "zworble", "overwrite": True, **paths, "steps": 2, "preview_every": 0, "evaluate_every": 0}

    def started(self) -> int:
        """Runs that have a folder below the usual one."""
        return len(list((self.home / "log").glob("2*/*")))

    def stop_jobs(self) -> None:
        """Stop every job that is not over."""
        for job in self.queue.all():
            if not job.now.over:
                with suppress(InputError):  # it ended in this moment
                    self.queue.command(job.id, "stop")

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """While in here, the files and folders that this process touches outside of `home` and Python's own."""
        if not _watched:
            sys.addaudithook(_hook)
        touched: list[str] = []
        _watched.append(([str(self.home), *_OF_PYTHON], touched))
        try:
            yield touched
        finally:
            _watched[-1] = ([os.sep], touched)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    """For sys.addaudithook, which never lets a hook go again. Links are followed; bytes and numbers are no paths."""
    if event not in _EVENTS or not arguments:
        return
    opened, touched = _watched[-1]
    if opened == [os.sep] or not isinstance(arguments[0], (str, os.PathLike)):
        return
    path = os.path.realpath(os.fspath(arguments[0]))
    allowed = any(path == folder or path.startswith(folder + os.sep) for folder in opened)
    if not allowed and not _OWN.fullmatch(path):
        touched.append(f"{event}: {path}")
