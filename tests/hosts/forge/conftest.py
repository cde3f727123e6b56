"""Fixtures of the tests of Forge's host: a stand-in Forge with the toy in it, and the same toy under diffusers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.hosts.a1111.ldm_model import stand_in
from tests.hosts.forge.forge_program import Program

OURS = ("tinv_ext.hosts.forge", "tinv_ext.hosts.patchers", "tinv_ext.hosts.webui")  # what imports the program's modules


@pytest.fixture
def forge(made_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`program`, `modules`, `new_host()`, `patch`; nothing is loaded yet."""
    folder = tmp_path / "embeddings"
    folder.mkdir()
    program = Program(made_model, folder)
    names = program.names()
    modules = stand_in(names, monkeypatch)
    _same_attributes(modules["modules.processing"], program)
    for name in [name for name in sys.modules if name.startswith(OURS)]:
        del sys.modules[name]
    host = importlib.import_module("tinv_ext.hosts.forge.host")
    yield SimpleNamespace(program=program, modules=modules, new_host=host.ForgeHost, patch=monkeypatch)
    for name in [name for name in sys.modules if name.startswith(OURS)]:
        del sys.modules[name]  # they hold the names of this test's stand-in


def _same_attributes(module: ModuleType, program: Program) -> None:
    """Attributes that the host sets on the module are those that the program reads."""
    program.processing = vars(module)
