"""scripts/tinv.py: what the WebUI is told to call, and how it finds out from where."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.paths import ROOT
from tinv_ext import webui

SCRIPT = ROOT / "scripts" / "tinv.py"
NAMES = ("on_ui_tabs", "on_app_started", "on_script_unloaded")


def run(patch: pytest.MonkeyPatch, register: Callable[[str, Any], None], names: tuple[str, ...] = NAMES) -> None:
    """The script as the WebUI runs it (modules/script_loading.py, `load_module`)."""
    callbacks = ModuleType("modules.script_callbacks")
    for name in names:
        setattr(callbacks, name, lambda called, name=name: register(name, called))
    package: Any = ModuleType("modules")
    package.script_callbacks = callbacks
    patch.setitem(sys.modules, "modules", package)
    patch.setitem(sys.modules, "modules.script_callbacks", callbacks)
    spec: Any = importlib.util.spec_from_file_location("tinv.py", SCRIPT)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_the_webui_is_told_what_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """And, before 1.3, not of what it does not have."""
    told: dict[str, Any] = {}
    run(monkeypatch, told.__setitem__)
    assert told == dict(zip(NAMES, (webui.tabs, webui.add_routes, webui.forget_tried), strict=True))
    told.clear()
    run(monkeypatch, told.__setitem__, NAMES[:2])
    assert list(told) == list(NAMES[:2])


def test_it_finds_the_script_by_a_short_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the source of every function that is being called, which takes long where these are many."""
    stacks: list[list[str]] = []
    run(monkeypatch, lambda *_: stacks.append([frame.filename for frame in inspect.stack()]))
    for stack in stacks:
        assert next(file for file in stack if file != __file__) == str(SCRIPT)
        assert len(stack) <= 6


def test_what_goes_wrong_reaches_the_webui(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which says so in its log, by the script's name."""

    def refuse(*_: Any) -> None:
        raise ValueError("no such callback")

    monkeypatch.setattr("threading.excepthook", lambda _: None)
    with pytest.raises(ValueError, match="no such callback"):
        run(monkeypatch, refuse)
