"""The WebUI's own Restart and Stop end the process by os._exit: a run is saved before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from tinv_ext.run.curve import read_curve
from tinv_ext.run.run_folder import find_runs

pytestmark = pytest.mark.once

# What v1.10.1's modules/restart.py does, in words of our own.
RESTART = """
import os, pathlib

def restart_program():
    (pathlib.Path(__file__).parent / "restart").touch()
    stop_program()

def stop_program():
    os._exit(7)
"""
PROGRAM = """
import sys, threading, time
from pathlib import Path
from tests.fake_host import FakeHost
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.webui import _save_at_the_end
from modules import restart

folder = Path(sys.argv[2])
queue = JobQueue(lambda: FakeHost(folder / "embeddings"), folder)
_save_at_the_end(queue)
if sys.argv[3] == "broken":
    queue.end = lambda seconds: 1 / 0
values = {"name": "zworble", "images": sys.argv[4], "steps": 10**6, "output": "log", "save_state_every": 10**6}
values |= {"save_state_seconds": 0, "width": 64, "height": 64, "preview_every": 0, "evaluate_every": 0, "save_every": 0}
job = queue.submit(values)
while job.steps < 20:
    time.sleep(0.01)
threading.Thread(target=getattr(restart, sys.argv[1])).start()  # as a request's thread does
time.sleep(60)
"""


@pytest.mark.parametrize("name", ["stop_program", "restart_program"])
def test_a_run_is_saved_before_the_webui_ends_itself(name: str, tmp_path: Path) -> None:
    """Its step is finished, the state holds it, then the WebUI's own function is called, which still does its part."""
    assert ended(name, tmp_path, "whole") == 7
    (run,) = find_runs(tmp_path / "log")
    assert (run.last_status().status, run.status().status) == ("stopped", "stopped")
    assert str(run.status().steps) == read_curve(run.curve)[-1]["step"]
    assert run.can_resume
    assert (tmp_path / "modules" / "restart").is_file() == (name == "restart_program")


def test_the_webui_ends_where_saving_fails(tmp_path: Path) -> None:
    """A bug of ours does not keep it from ending."""
    assert ended("stop_program", tmp_path, "broken") == 7


def ended(function: str, folder: Path, state: str) -> int:
    """The exit code of a process that has a run and ends itself with a function of modules/restart.py."""
    (folder / "modules").mkdir()
    (folder / "modules" / "restart.py").write_text(RESTART)
    images = ROOT / "tinv_ext" / "toy" / "samples" / "clover"
    paths = os.pathsep.join([str(ROOT), str(folder)])
    command = [sys.executable, "-c", PROGRAM, function, str(folder), state, str(images)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, timeout=120, check=False).returncode
