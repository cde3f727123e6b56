"""The page, told to end by real signals or killed: its run is saved, and what waited is offered the next time."""

from __future__ import annotations

import json
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_ended import IMAGES, SIGNALS, at_work, begun, wait_for
from tinv_ext.core.formats import read_embedding
from tinv_ext.run.curve import read_curve

SETTINGS: Mapping[str, Any] = {
    "name": "zibbo",
    "images": str(IMAGES),
    "steps": 100000,
    "width": 64,
    "height": 64,
    "preview_every": 0,
    "evaluate_every": 0,
}
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")


@pytest.mark.skipif(find_spec("uvicorn") is None, reason="the page needs gradio")
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_end_of_the_page_saves_its_run(number: signal.Signals, tmp_path: Path) -> None:
    """A job on `tinv ui` is stopped and saved however the program is told to end; exit code 3."""
    with begun(tmp_path, "ui", "--port", free_port()) as process:
        address = address_of(process)
        assert answered(f"{address}train", {**SETTINGS, "output": str(tmp_path / "runs")})
        run = wait_for(lambda: at_work(tmp_path), process)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, '"zibbo" was stopped at step' in out) == (3, True), err
    assert "Traceback" not in err, err
    status = run.status()
    assert (status.status, str(status.steps)) == ("stopped", read_curve(run.curve)[-1]["step"])
    assert read_embedding(tmp_path / str(status.file)).step == status.steps


@pytest.mark.skipif(find_spec("uvicorn") is None, reason="the page needs gradio")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_the_next_page_offers_what_waited(number: signal.Signals, tmp_path: Path) -> None:
    """A run at work and two that wait; the next program queues them again, and trains them."""
    with begun(tmp_path, "ui", "--port", free_port()) as process:
        address = address_of(process)
        for name, steps in (("zibbo", 100000), ("zibb-a", 3), ("zibb-b", 4)):
            given = {**SETTINGS, "name": name, "steps": steps, "output": str(tmp_path / "runs")}
            assert answered(f"{address}train", given)
        wait_for(lambda: at_work(tmp_path), process)
        process.send_signal(number)
        out, _ = process.communicate(timeout=120)
    assert ("Runs that were waiting: 2." in out) == (number == signal.SIGTERM)
    with begun(tmp_path, "ui", "--port", free_port()) as process:
        address = address_of(process)
        offers = json.loads(answered(f"{address}status"))["waited"]
        assert [(offer["name"], offer["steps"]) for offer in offers] == [("zibb-a", 3), ("zibb-b", 4)]
        for offer in offers:
            assert answered(f"{address}queue/again?run={offer['id']}", {})
        assert json.loads(answered(f"{address}status"))["waited"] == []
        trained = wait_for(lambda: finished(f"{address}jobs"), process)
    assert [read_embedding(tmp_path / file).step for file in trained] == [3, 4]


def finished(address: str) -> list[str]:
    """The files of the jobs there, once all of them are finished."""
    jobs = json.loads(answered(address))
    return [job["path"] for job in jobs] if {job["status"] for job in jobs} == {"finished"} else []


def address_of(process: Any) -> str:
    """Where the routes of a page are, once it answers."""
    address = next(part for part in process.stdout.readline().split() if part.startswith("http"))
    wait_for(lambda: answered(f"{address}tinv/v1/jobs"), process)
    return f"{address}tinv/v1/"


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
