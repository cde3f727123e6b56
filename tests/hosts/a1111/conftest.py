"""Fixtures of the tests of the WebUI's host: a stand-in WebUI with the toy in it, and the same toy under diffusers."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.hosts.a1111 import running
from tests.hosts.a1111.ldm_model import stand_in
from tests.hosts.a1111.webui_names import names

OURS = ("tinv_ext.hosts.a1111", "tinv_ext.hosts.webui")  # what imports the WebUI's modules
SNAPSHOT = Path(__file__).with_name("snapshot.py")


@pytest.fixture
def webui(request: pytest.FixtureRequest) -> Any:
    """`host`, `new_host()`, `shared`, `modules`, `snapshot()`, `difference()`, `patch`; one for each test."""
    return request.getfixturevalue("running_webui" if running.HERE else "stand_in_webui")


@pytest.fixture
def running_webui(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The WebUI in whose process we are."""
    yield from running.webui(_fresh(SNAPSHOT), monkeypatch)


@pytest.fixture
def generated(webui: Any) -> Any:
    """What the stand-in's generations found; a test that asks for it is not for the running WebUI."""
    return webui.generated


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """In the running WebUI, without the tests of what only a stand-in can tell."""
    only = [
        item for item in items if running.HERE and {"generated", "rejected"} & set(getattr(item, "fixturenames", ()))
    ]
    items[:] = [item for item in items if item not in only]
    config.hook.pytest_deselected(items=only)


@pytest.fixture
def rejected(webui: Any) -> Any:
    """Names of files that the stand-in's loader rejects."""
    return webui.modules["modules.sd_hijack"].model_hijack.embedding_db.rejected


@pytest.fixture
def stand_in_webui(made_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A stand-in for the WebUI's own names around the real model; also `generated`."""
    tokenizer = made_model.cond_stage_model.tokenizer
    sd_model = copy.deepcopy(made_model, {id(tokenizer): tokenizer})  # the vocabulary is large and does not change
    folder = tmp_path / "embeddings"
    folder.mkdir()
    modules = stand_in(names(sd_model, folder), monkeypatch)
    host = importlib.import_module("tinv_ext.hosts.a1111.host")
    new_host = partial(host.A1111Host, importlib.import_module("tinv_ext.hosts.a1111.original"))
    snapshot = _fresh(SNAPSHOT)
    yield SimpleNamespace(
        host=new_host(),
        new_host=new_host,
        shared=modules["modules.shared"],
        modules=modules,
        generated=modules["modules.processing"].generated,
        snapshot=snapshot.snapshot,
        difference=snapshot.difference,
        patch=monkeypatch,
    )
    for name in [name for name in sys.modules if name.startswith(OURS)]:
        del sys.modules[name]  # they hold the names of this test's stand-in


def _fresh(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
