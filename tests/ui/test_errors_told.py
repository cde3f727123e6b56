"""Whatever goes wrong reaches whoever asked as a sentence, by page and routes; the log has the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.presets import CLASSIC
from tinv_ext.library.library import Library
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.templates import Templates
from tinv_ext.ui import page, prepare_tab

ERRORS = (RuntimeError("the sky <b>fell"), OSError(28, "No space left"), MemoryError(), KeyError("x"), AssertionError())
NOBODY = SimpleNamespace(client=None, headers={})
BROKEN = (
    *((JobQueue, name) for name in ("submit", "examine", "resume", "runs", "command")),
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


def handlers(jobs: JobQueue, host: Any) -> list[tuple[str, Callable[..., Any], int]]:
    """Name, function and number of inputs of every event of the page that calls Python."""
    blocks = page.build(jobs)
    fns = blocks.fns.values() if isinstance(blocks.fns, dict) else blocks.fns
    if isinstance(blocks.fns, dict):
        counts = [len(fn.inputs) for fn in fns]
    else:  # gradio 3 keeps them apart
        counts = [len(dependency["inputs"]) for dependency in blocks.dependencies]
    return [(fn.fn.__name__, fn.fn, count) for fn, count in zip(fns, counts) if fn.fn]


def test_the_controls_follow_preset_and_purpose(jobs: JobQueue, host: Any) -> None:
    """What is shown is what a training with nothing else set would have; other controls stay as they are."""
    by_preset, by_purpose = [button for name, button, _ in handlers(jobs, host) if name == "following"]
    shown = dict(zip(CLASSIC, by_preset("diffusers", "style")))
    wanted = TrainConfig.from_dict({"preset": "diffusers", "purpose": "style"})
    assert shown == {name: getattr(wanted, name) for name in CLASSIC}
    assert {"style", 4, wanted.steps} <= set(by_purpose("diffusers", "style"))
    assert {"subject", 1, 3000} <= set(by_purpose("diffusers", "object"))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_no_button_breaks(jobs: JobQueue, host: Any, broken: Callable[[Exception], None], error: Exception) -> None:
    """Each answers with a sentence in which markup is text."""
    jobs.current = lambda: SimpleNamespace(now=SimpleNamespace(over=False), id="x")  # type: ignore[assignment, return-value]
    buttons = handlers(jobs, host)
    broken(error)
    names = set()
    for name, button, count in buttons:
        if name in ("<lambda>", "following"):  # the names of templates, the values of presets: nothing can go wrong
            continue
        if isinstance(getattr(button, "__self__", None), prepare_tab._Actions):  # test_prepare_page.py
            continue
        names.add(name)
        arguments: list[Any] = [{}] if name in ("train", "check") else ["x"] * count
        answer = button(*arguments, NOBODY)
        told = "".join(part for part in (answer if isinstance(answer, tuple) else (answer,)) if isinstance(part, str))
        assert "tinv-said" in told or "tinv-problems" in told, name
        assert "<b>fell" not in told
        assert type(error).__name__ in told or "memory" in told, (name, told)
    assert names >= {"train", "check", "send", "load", "save"}


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
    for route in ("train", "check", "resume?run=x", "resume?job=x", "stop?job=x", "pause?job=x"):
        with caplog.at_level(logging.ERROR):
            answer = routes.post(f"/tinv/v1/{route}", json={})
        assert answer.status_code == 500, route
        assert answer.json()["detail"]["ids"] == ["server.unexpected"]
        assert caplog.records[-1].exc_info
    assert routes.get("/tinv/v1/runs").json()["detail"]["ids"] == ["server.unexpected"]
