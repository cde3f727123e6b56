"""The page, told to end by real signals: its run is saved."""

from __future__ import annotations

import json
import signal
import sys
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_ended import IMAGES, SIGNALS, at_work, begun, wait_for
from tinv_ext.core.formats import read_embedding
from tinv_ext.run.curve import read_curve

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")


@pytest.mark.skipif(find_spec("uvicorn") is None, reason="the page needs gradio")
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_end_of_the_page_saves_its_run(number: signal.Signals, tmp_path: Path) -> None:
    """A job on `tinv ui` is stopped and saved however the program is told to end; exit code 3."""
    with begun(tmp_path, "ui", "--port", free_port()) as process:
        assert process.stdout is not None
        address = next(part for part in process.stdout.readline().split() if part.startswith("http"))
        values = {"name": "zibbo", "images": str(IMAGES), "steps": 100000, "output": str(tmp_path / "runs")}
        values |= {"preview_every": 0, "evaluate_every": 0, "width": 64, "height": 64}
        wait_for(lambda: answered(f"{address}tinv/v1/jobs"), process)
        assert answered(f"{address}tinv/v1/train", values)
        run = wait_for(lambda: at_work(tmp_path), process)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, '"zibbo" was stopped at step' in out) == (3, True), err
    assert "Traceback" not in err, err
    status = run.status()
    assert (status.status, str(status.steps)) == ("stopped", read_curve(run.curve)[-1]["step"])
    assert read_embedding(tmp_path / str(status.file)).step == status.steps


def answered(address: str, values: Any = None) -> Any:
    """What a route answers; None while the server does not."""
    data = None if values is None else json.dumps(values).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()
    except (ConnectionError, urllib.error.URLError) as error:
        if isinstance(error, urllib.error.HTTPError):
            raise AssertionError(error.read()) from error
        return None


def free_port() -> int:
    """A port that nobody listens at."""
    import socket

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
