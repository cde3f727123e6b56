"""Whatever goes wrong reaches whoever asked as a sentence, by page and routes; the log has the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from fastapi.testclient import TestClient

from tinv_ext.library.library import Library
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.templates import Templates
from tinv_ext.ui import page

ERRORS = (RuntimeError("the sky <b>fell"), OSError(28, "No space left"), MemoryError(), KeyError("x"), AssertionError())
BROKEN = (
    *((JobQueue, name) for name in ("submit", "examine", "resume", "runs", "get", "command")),
    *((Library, name) for name in ("items", "inspect", "rename", "delete", "extend", "average", "undelete", "convert")),
    *((Templates, name) for name in ("text", "save")),
)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Lets everything that the page asks for fail."""

    def everything(error: Exception) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        for owner, name in BROKEN:
            monkeypatch.setattr(owner, name, fail)

    return everything


def test_nothing_is_started_by_gradio() -> None:
    """The whole page asks the routes."""
    with gr.Blocks() as blocks:
        page.build()
    fns = blocks.fns.values() if isinstance(blocks.fns, dict) else blocks.fns
    assert [fn for fn in fns if fn.fn] == []


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_no_route_breaks(
    client: Callable[..., TestClient],
    broken: Callable[[Exception], None],
    error: Exception,
    caplog: pytest.LogCaptureFixture,
    host: Any,
    tmp_path: Path,
) -> None:
    """500 with a sentence; the traceback is in the log."""
    broken(error)
    routes = client(library=Library(tmp_path, lambda: host))
    key, keys = {"key": "x", "name": "y"}, {"keys": ["x", "y"], "name": "z"}
    bodies = {
        "rename": key,
        "extend": {**key, "count": 2},
        "average": keys,
        "delete": key,
        "convert": {**key, "to": "a1111"},
    }
    for name, body in {**bodies, "restore": {"id": "x"}}.items():
        answer = routes.post(f"/tinv/v1/embeddings/{name}", json=body)
        assert answer.json()["detail"]["ids"] == ["server.unexpected"], name
    for route in ("embeddings", "embeddings/about?key=x"):
        assert routes.get(f"/tinv/v1/{route}").json()["detail"]["ids"] == ["server.unexpected"]
    for route in ("train", "check", "resume?run=x", "resume?job=x", "stop?job=x", "pause?job=x", "templates"):
        with caplog.at_level(logging.ERROR):
            answer = routes.post(f"/tinv/v1/{route}", json={})
        assert answer.status_code == 500, route
        assert answer.json()["detail"]["ids"] == ["server.unexpected"]
        assert caplog.records[-1].exc_info
    assert routes.get("/tinv/v1/runs").json()["detail"]["ids"] == ["server.unexpected"]
