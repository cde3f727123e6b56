"""The real WebUI's own end: a run is saved before."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import pytest

from tests.webui.images import CONCEPT
from tests.webui.server import PATIENCE, WebUI
from tinv_ext.run.curve import read_curve
from tinv_ext.run.run_folder import find_runs

pytestmark = pytest.mark.webui


def test_server_kill_saves_the_run(start: Callable[..., AbstractContextManager[WebUI]]) -> None:
    """modules/api/api.py, kill_webui: restart.stop_program, then nothing answers any more; the state has every step."""
    with start("--api", "--api-server-stop") as webui:
        flags = {
            "steps": 100000,
            "save_state_every": 100000,
            "save_state_seconds": 0,
            "preview_every": 0,
            "save_every": 0,
        }
        job = webui.post("/tinv/v1/train", {"name": "keepo", "images": f"~/images/{CONCEPT}", **flags})["id"]
        end = time.monotonic() + PATIENCE
        while webui.get(f"/tinv/v1/status?job={job}")["job"]["steps"] < 10:
            assert time.monotonic() < end
            time.sleep(0.1)
        with suppress(urllib.error.URLError, ConnectionError):  # it ends before it has answered
            webui.ask("/sdapi/v1/server-kill", {})
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            webui.ask("/tinv/v1/status")
        (run,) = find_runs(webui.data / "textual_inversion")
        assert (run.status().status, run.can_resume) == ("stopped", True)
        assert str(run.status().steps) == read_curve(run.curve)[-1]["step"]
