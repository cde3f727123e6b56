"""The routes are built when the first of them is asked; nobody can tell that they were not there before."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute

from tinv_ext.server import api
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.routes.late_routes import LateRoutes

ROOT = "/ours"
REQUESTS = 12
Build = Callable[[], list[BaseRoute]]


def routes(word: str = "built") -> list[BaseRoute]:
    """Two of them."""

    def params(path: str, request: Request) -> dict[str, Any]:
        return dict(request.path_params)

    router = APIRouter()
    router.add_api_route(f"{ROOT}/word", lambda: word, methods=["GET"])
    router.add_api_route(f"{ROOT}/of/{{path:path}}", params, methods=["GET"])
    return router.routes


def app_with(build: Build = routes) -> FastAPI:
    """An app of another's, with late routes and, behind them, something that answers everything."""
    app = FastAPI()
    app.add_api_route("/other", lambda: "other")
    LateRoutes(app, ROOT, build).add()
    app.add_api_route("/{rest:path}", lambda: "whatever")
    return app


def paths(app: FastAPI) -> list[str]:
    """Of the app's routes, in their order, without FastAPI's own."""
    return [found for route in app.router.routes if (found := getattr(route, "path", ""))][4:]


def test_nothing_is_built_before_somebody_asks() -> None:
    """Other routes of the app do not count."""
    client = TestClient(app_with(lambda: pytest.fail("built")))
    assert client.get("/other").json() == "other"
    assert client.get("/oursalike").json() == "whatever"


def test_they_come_where_they_would_have_been() -> None:
    """Before what was added after them; each request is answered by its route, with the parameters of that alone."""
    app = app_with()
    client = TestClient(app)
    assert client.get(f"{ROOT}/of/a/b").json() == {"path": "a/b"}
    assert paths(app) == ["/other", f"{ROOT}/word", f"{ROOT}/of/{{path:path}}", "/{rest:path}"]
    assert client.get(f"{ROOT}/word").json() == "built"
    assert client.get(f"{ROOT}/unknown").json() == "whatever"


@pytest.mark.parametrize("asked", [("GET", "unknown", 404), ("DELETE", "status", 405), ("POST", "check", 415)])
def test_the_first_request_is_refused_as_the_second(jobs: JobQueue, asked: tuple[str, str, int]) -> None:
    """By status and body, in the way of the program that they are in."""
    app = FastAPI()

    @app.exception_handler(HTTPException)
    async def ours(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"told": error.detail}, error.status_code)

    api.add_routes(app, jobs, True, None, None)
    method, name, code = asked
    first, second = (TestClient(app).request(method, f"/tinv/v1/{name}", content=b"x") for _ in range(2))
    assert first.status_code == second.status_code == code
    assert first.content == second.content
    assert code != 415 or first.json()["told"]["ids"] == ["api.not_json_type"]


def test_many_first_requests_wait_for_one_building_and_others_for_none() -> None:
    """In a thread: the program answers meanwhile."""
    built: list[str] = []
    may_end = threading.Event()

    def slowly() -> list[BaseRoute]:
        built.append(threading.current_thread().name)
        assert may_end.wait(20)
        return routes()

    async def ask() -> list[Any]:
        transport = httpx.ASGITransport(app=app_with(slowly))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            waiting = [asyncio.create_task(client.get(f"{ROOT}/word")) for _ in range(REQUESTS)]
            while not built:
                await asyncio.sleep(0.01)
            assert (await client.get("/other")).json() == "other"
            assert not any(task.done() for task in waiting)
            may_end.set()
            return [(await task).json() for task in waiting]

    assert asyncio.run(ask()) == ["built"] * REQUESTS
    assert len(built) == 1
    assert built != [threading.main_thread().name]


def test_an_error_is_told_and_the_next_request_tries_again(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever asked gets a sentence in his language, the log has the traceback; the description is as without us."""
    tried: list[int] = []

    def build() -> list[BaseRoute]:
        tried.append(1)
        if len(tried) < 4:
            raise OSError("the disk is away")
        return routes()

    app = app_with(build)
    client = TestClient(app)
    answer = client.get(f"{ROOT}/word")
    assert answer.status_code == 500
    assert answer.json()["detail"]["ids"] == ["server.unexpected"]
    assert "the disk is away" in answer.json()["detail"]["problems"][0]
    assert "Traceback" in caplog.text
    chinese = client.get(f"{ROOT}/word", params={"language": "zh_CN"}).json()["detail"]["problems"][0]
    assert chinese != answer.json()["detail"]["problems"][0]
    assert set(client.get("/openapi.json").json()["paths"]) == {"/other", "/{rest}"}
    assert client.get(f"{ROOT}/word").json() == "built"
    assert f"{ROOT}/word" in client.get("/openapi.json").json()["paths"]


def test_the_description_has_them_though_nobody_has_asked() -> None:
    """And the app's own way to describe itself is used."""
    app = FastAPI(title="Theirs")
    LateRoutes(app, ROOT, routes).add()
    assert set(TestClient(app).get("/openapi.json").json()["paths"]) == {f"{ROOT}/word", f"{ROOT}/of/{{path}}"}
    assert app.openapi()["info"]["title"] == "Theirs"


def test_adding_them_again_leaves_nothing_of_before(jobs: JobQueue) -> None:
    """Neither where they were asked nor where they were not, nor while they are being built."""
    app = FastAPI()
    may_end, begun = threading.Event(), threading.Event()

    def slowly() -> list[BaseRoute]:
        begun.set()
        assert may_end.wait(20)
        return routes("of before")

    LateRoutes(app, api.ROOT, slowly).add()
    asking = threading.Thread(target=TestClient(app).get, args=(f"{api.ROOT}/status",))
    asking.start()
    assert begun.wait(20)
    for _ in range(3):
        api.add_routes(app, jobs, True, None, None)
    may_end.set()
    asking.join()
    del asking
    assert not [path for path in paths(app) if path.startswith(ROOT)]
    assert TestClient(app).get(f"{api.ROOT}/status").json()["job"] is None
    app.openapi()
    gc.collect()
    assert len([one for one in gc.get_objects() if type(one) is LateRoutes and one._app is app]) == 1
