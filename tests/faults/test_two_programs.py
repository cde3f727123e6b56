"""Two programs and one run, the second is refused by name, by every way in; a killed one frees it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.fake_host import FakeHost
from tests.faults.test_ended import at_work, training, wait_for
from tests.messages import refused
from tinv_ext.cli.main import main
from tinv_ext.run.curve import read_curve
from tinv_ext.run.resume import prepare_resume
from tinv_ext.server.job_queue import JobQueue

pytestmark = [pytest.mark.once, pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")]


def test_a_run_that_is_alive_elsewhere_is_refused_until_it_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By `train --resume`, the engine, the page and the routes; its curve stays whole. Killed, it can be resumed."""
    queue = JobQueue(lambda: FakeHost(tmp_path / "embeddings"), tmp_path)
    with training(tmp_path, 100000) as process:
        run = wait_for(lambda: at_work(tmp_path), process)
        assert main(["train", "--resume", str(run.path)]) == 2
        err = capsys.readouterr().err
        assert run.path.name in err
        assert f"process {process.pid}" in err
        with refused("run.in_use", run=run.path.name, pid=process.pid):
            prepare_resume(run.path, FakeHost(tmp_path / "embeddings"))
        with refused("run.in_use", run=run.path.name, pid=process.pid):
            queue.resume(str(tmp_path / "runs"), run.id, {})
        (listed,) = queue.runs(str(tmp_path / "runs"))
        assert (listed["status"], listed["can_resume"]) == ("elsewhere", False)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # over, but not buried yet
        (listed,) = queue.runs(str(tmp_path / "runs"))
        assert (listed["status"], listed["can_resume"]) == ("interrupted", True)
    steps = [int(row["step"]) for row in read_curve(run.curve)]
    assert steps == list(range(len(steps)))
    assert main(["train", "--resume", str(run.path), "--steps", str(max(101, len(steps) + 2))]) == 0
    steps = [int(row["step"]) for row in read_curve(run.curve)]
    assert steps == list(range(len(steps)))
