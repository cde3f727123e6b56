"""The page's server in this process, with the tiny model behind it; left out where gradio is not installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page is tested under the WebUI's versions, which have gradio 3.41.2")

from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.job_fixtures import host, jobs, make_pipeline, values  # noqa: F401  (fixtures)
from tinv_ext.library.library import Library
from tinv_ext.server import api
from tinv_ext.server.job_queue import JobQueue

TOKEN = "the page's own"


@pytest.fixture(scope="module", autouse=True)
def browser_of_a_file() -> Iterator[None]:
    """Ended after the last test of the file, if one started it."""
    yield
    if browser := sys.modules.get("tests.ui.browser"):
        browser.SHARED.end()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A test that fails tells what its page showed then."""
    outcome: Any = yield
    page = getattr(item, "funcargs", {}).get("page")
    if call.when == "call" and call.excinfo is not None and hasattr(page, "inner_text"):
        from tests.ui.browser import shown

        outcome.get_result().sections.append(("Page", shown(page)))


@pytest.fixture
def client(jobs: JobQueue) -> Callable[..., TestClient]:  # noqa: F811
    """A client of the routes, which has not the page's token."""

    def make(
        changing: bool = True,
        credentials: Any = None,
        allowed_paths: Any = None,
        token: str = TOKEN,
        library: Library | None = None,
    ) -> TestClient:
        app = FastAPI()
        api.add_routes(app, jobs, changing, credentials, allowed_paths, token=token, library=library)
        return TestClient(app)

    return make
