"""Fixtures of the tests against the real WebUI: `make test-webui WEBUI=<folder> WEBUI_PYTHON=<its python>`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.webui import server
from tests.webui.browser import Tab, tab
from tests.webui.images import CONCEPT
from tinv_ext.demo.concept_test import SAMPLES
from tinv_ext.toy import export

if "modules.shared" not in sys.modules:
    collect_ignore = ["inside"]  # for the WebUI's own process

TOLD = pytest.StashKey[list[str]]()


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A line for the end of the report, of what is measured and not judged."""
    return request.config.stash.setdefault(TOLD, []).append


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy in the WebUI's form."""
    return export.export(tmp_path_factory.mktemp("toy"))[2]


@pytest.fixture(scope="session")
def start(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractContextManager[server.WebUI]]:
    """Starts the WebUI with flags and settings in a fresh data folder, its home, which has images in it."""

    def begin(*flags: str, checkpoint: Path = checkpoint, **settings: Any) -> AbstractContextManager[server.WebUI]:
        data = tmp_path_factory.mktemp("data")
        shutil.copytree(SAMPLES / CONCEPT, data / "images" / CONCEPT)
        other = data / "models" / "Stable-diffusion" / server.OTHER
        other.parent.mkdir(parents=True)
        save_file(load_file(checkpoint), other, {"format": "pt", "of": "other"})  # so its hash is another
        shutil.copyfile(checkpoint.with_suffix(".yaml"), other.with_suffix(".yaml"))
        return server.running(Path(os.environ["WEBUI"]), os.environ["WEBUI_PYTHON"], checkpoint, data, flags, settings)

    return begin


@pytest.fixture(scope="module")
def webui(start: Callable[..., AbstractContextManager[server.WebUI]]) -> Iterator[server.WebUI]:
    """With its API, one for each file.

    Not one for all: gradio 3.41 keeps waiting for an answer to a page that was closed in the midst of an event
    (gradio/routes.py, join_queue), and then Reload UI never ends (uvicorn/server.py, _wait_tasks_to_complete).
    """
    with start("--api") as webui:
        yield webui


@pytest.fixture(scope="module")
def page(webui: server.WebUI) -> Iterator[Tab]:
    """A browser with our tab open, the same for the tests of a file: they are the chapters of one story."""
    with tab(webui) as page:
        yield page


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The line that says what was tested: commit, passed, skipped."""
    ends = {end: len(terminalreporter.stats.get(end, ())) for end in ("passed", "failed", "error", "skipped")}
    git = ["git", "-C", str(server.ROOT)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout.strip()
    for line in config.stash.get(TOLD, []):
        terminalreporter.write_line(line)
    told = ", ".join(f"{count} {end}" for end, count in ends.items() if count or end in ("passed", "skipped"))
    terminalreporter.write_line(f"test-webui: commit {commit}{' and changes' if changed else ''}: {told}")
