"""The page's own server answers programs and its own page: no other name, no other page, no file but the page's own."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from tests.hosts.diffusers.small_pipelines import sd1
from tests.messages import said
from tinv_ext import standalone
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.server import api, same_origin
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.routes import route as bodies

HERE = "http://127.0.0.1:7870"
FOREIGN_HOSTS = (
    "evil.test",
    "evil.test:7870",
    "127.0.0.1.evil.test",
    "localhost.evil.test:7870",
    "10.0.0.7:7870",
    "",
    "[::2]",
)
OWN_HOSTS = ("127.0.0.1:7870", "localhost:7870", "LOCALHOST:9000", "[::1]:7870", "localhost")
FOREIGN_ORIGINS = ("http://evil.test", "http://127.0.0.1:7871", "http://localhost:7870", "http://127.0.0.1", "null", "")
FOREIGN_ORIGINS += (
    "file://",
    "http://127.0.0.1:7870.evil.test",
    "chrome-extension://127.0.0.1:7870",
    "http://user@127.0.0.1:7870",
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The whole server, for tests that only ask it."""
    return standalone.app_for(DiffusersHost(sd1(), tmp_path_factory.mktemp("embeddings"), {"model_name": "tiny"}))


@pytest.fixture
def page(app: Any) -> TestClient:
    """A client of the whole server."""
    return TestClient(app, base_url=HERE)


@pytest.mark.parametrize("name", FOREIGN_HOSTS)
def test_a_foreign_host_is_refused(page: TestClient, name: str) -> None:
    """As when a stranger's name leads to this machine: page, routes, files and websockets."""
    for path in ("/", "/config", "/tinv/v1/status", "/tinv/javascript/tinv.js"):
        assert page.get(path, headers={"Host": name}).status_code == 403, path
    with pytest.raises(WebSocketDisconnect), page.websocket_connect("/queue/join", headers={"Host": name}):
        pass


@pytest.mark.parametrize("name", OWN_HOSTS)
def test_this_machine_has_several_names(page: TestClient, name: str) -> None:
    """With any port: the one seen through a tunnel is another."""
    assert page.get("/tinv/v1/status", headers={"Host": name, "Origin": f"http://{name.lower()}"}).status_code == 200


def test_the_owner_may_name_more_hosts(host: DiffusersHost) -> None:
    """As behind a proxy."""
    page = TestClient(standalone.app_for(host, hosts=["Lab.Example"]), base_url="https://lab.example")
    assert page.get("/tinv/v1/status", headers={"Origin": "https://lab.example"}).status_code == 200
    assert page.get("/tinv/v1/status", headers={"Origin": "https://evil.test"}).status_code == 403


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_a_foreign_origin_is_refused(page: TestClient, values: dict[str, Any], origin: str) -> None:
    """With whatever method and address, its question before a request (preflight) and its websockets, too."""
    headers = {"Origin": origin}
    for path in ("/", "/config", "/tinv/v1/status", "/file=x", "/upload", "/queue/join", "/run/predict"):
        for method in ("GET", "POST", "OPTIONS", "HEAD"):
            answer = page.request(method, path, headers=headers)
            assert answer.status_code == 403, (method, path)
            assert "access-control-allow-origin" not in answer.headers
    assert page.post("/tinv/v1/train", json=values, headers=headers).status_code == 403
    with pytest.raises(WebSocketDisconnect), page.websocket_connect("/queue/join", headers=headers):
        pass
    assert page.get("/tinv/v1/jobs").json() == []


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_what_another_page_embeds_is_refused(page: TestClient, site: str) -> None:
    """Images, scripts and frames come without an Origin; a link that a person follows is let through."""
    for kind in ("image", "script", "iframe", "empty"):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": kind}
        assert page.get("/tinv/v1/status", headers=headers).status_code == 403
    frame = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    assert page.get("/", headers=frame).status_code == 403
    link = {**frame, "Sec-Fetch-Dest": "document"}
    assert page.get("/", headers=link).status_code == 200
    assert page.post("/tinv/v1/stop?job=x", headers=link).status_code == 403


def test_no_file_of_the_working_directory_and_no_address_is_served(
    page: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gradio 3.41.2 serves every file below it, and asks every address that it is given."""
    asked: list[str] = []
    monkeypatch.setattr("requests.head", lambda address, **_: asked.append(address))
    (tmp_path / "secret.txt").write_text("classified")
    monkeypatch.chdir(tmp_path)
    files = ["secret.txt", "./secret.txt", str(tmp_path / "secret.txt"), f"/{tmp_path}/secret.txt", "pyproject.toml"]
    files += [HERE, "http://evil.test/", "//evil.test/x", "\\\\evil.test\\x", "file:///etc/passwd", "/etc/passwd", ""]
    files += [f"{standalone._uploads()}/../../etc/passwd", standalone._uploads(), "%2e%2e/x"]
    for file in files:
        for prefix in ("/file=", "/file/", "/proxy="):
            answer = page.get(prefix + file, follow_redirects=False)
            assert answer.status_code in (403, 404), (prefix, file)
            assert "classified" not in answer.text
    assert asked == []


@pytest.mark.parametrize("name", ["evil.html", "evil.svg", "evil.xhtml", "evil.js", "evil.pdf", "evil"])
def test_an_upload_is_never_a_page(page: TestClient, name: str) -> None:
    """It comes back to be saved, whatever it is called."""
    script = b"<script>document.title = 'caught'</script>"
    (path,) = page.post("/upload", files={"files": (name, script, "text/html")}).json()
    answer = page.get(f"/file={path}")
    assert answer.content == script
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_the_page_is_framed_by_nobody(page: TestClient) -> None:
    """Also in browsers that do not tell who asks."""
    assert page.get("/").headers["content-security-policy"] == "frame-ancestors 'self'"


# --- the routes inside a program that answers to every name ---------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_settings_must_say_that_they_are_json(client: Any, values: dict[str, Any], jobs: JobQueue, kind: str) -> None:
    """What a page may send to others without asking is 415, also where there is nothing in it."""
    routes, headers = client(), {"Content-Type": kind} if kind else {}
    for route in ("train", "check", "resume?run=x", "stop?job=x", "pause?job=x"):
        answer = routes.post(f"/tinv/v1/{route}", content=b"{}", headers=headers)
        assert answer.status_code == 415, route
        assert answer.json()["detail"]["ids"] == ["api.not_json_type"]
        assert not kind or routes.post(f"/tinv/v1/{route}", headers=headers).status_code == 415
    assert jobs.all() == []
    sent = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert routes.post("/tinv/v1/check", content=b"{}", headers=sent).status_code == 422


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_the_routes_refuse_a_foreign_origin_in_any_program(client: Any, values: dict[str, Any], origin: str) -> None:
    """Whatever the program around them lets through."""
    routes = client()
    routes.base_url = HERE
    for ask in (routes.get, routes.post):
        answer = ask("/tinv/v1/status" if ask == routes.get else "/tinv/v1/train", headers={"Origin": origin})
        assert answer.status_code == 403
        assert answer.json()["detail"]["ids"] == ["server.foreign_origin"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "192.168.0.7:7860", "Origin": "http://192.168.0.7:7860"},  # --listen
        {"Host": "0123456789.gradio.live", "Origin": "https://0123456789.gradio.live"},  # --share, the name passed on
        {
            "Host": "localhost:7860",
            "Origin": "https://0123.gradio.live",
            "Sec-Fetch-Site": "same-origin",
        },  # not passed on
        {"Host": "10.1.1.1:7860", "X-Forwarded-Host": "sd.example", "Origin": "https://sd.example"},  # a proxy
        {"Host": "sd.example", "Origin": "https://sd.example", "X-Forwarded-Prefix": "/sd"},  # --subpath
        {"Host": "localhost:7860", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Host": "localhost:7860"},  # a program
    ],
)
def test_our_page_is_known_behind_tunnels_and_proxies(client: Any, headers: dict[str, str]) -> None:
    """Both to look and to ask."""
    assert client().get("/tinv/v1/status", headers=headers).status_code == 200
    assert client().post("/tinv/v1/check", json={}, headers=headers).status_code == 422


def test_pages_that_the_owner_trusts_are_let_in(jobs: JobQueue) -> None:
    """As with --cors-allow-origins."""
    app = FastAPI()
    api.add_routes(app, jobs, True, None, None, lambda origin: origin == "https://friend.test")
    routes = TestClient(app)
    assert routes.get("/tinv/v1/status", headers={"Origin": "https://friend.test"}).status_code == 200
    assert routes.get("/tinv/v1/status", headers={"Origin": "https://evil.test"}).status_code == 403


# --- a login --------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(jobs: JobQueue) -> Callable[..., TestClient]:
    """The routes in a gradio app with a login, as with --gradio-auth."""
    import gradio as gr
    from gradio.routes import App

    def make(credentials: Any = None) -> TestClient:
        with gr.Blocks() as blocks:
            gr.Markdown("x")
        blocks.auth, blocks.auth_message = [("ann", "secret")], None
        app = App.create_app(blocks)
        api.add_routes(app, jobs, True, credentials, None)
        return TestClient(app, base_url="http://127.0.0.1")

    return make


LOOKING = (
    "status",
    "picture?job=x&index=0",
    "schema",
    "labels",
    "texts",
    "chart?job=x",
    "previews?job=x",
    "snapshots?job=x",
    "embedding?job=x",
    "jobs",
    "runs",
)


def test_where_the_page_asks_for_a_login_looking_does_too(guarded: Callable[..., TestClient]) -> None:
    """Status and images tell ids, names and prompts; nobody changes anything either."""
    client = guarded()
    for route in LOOKING:
        assert client.get(f"/tinv/v1/{route}").status_code == 401, route
    assert client.post("/tinv/v1/check", json={}).status_code == 401
    assert client.get("/tinv/v1/status", cookies={"access-token": "guessed"}).status_code == 401
    assert client.post("/login", data={"username": "ann", "password": "secret"}).status_code == 200
    assert client.get("/tinv/v1/status").status_code == 200
    assert client.get("/tinv/v1/picture?job=x&index=0").status_code == 404
    assert client.post("/tinv/v1/check", json={}).status_code == 422


def test_the_apis_own_credentials_stand_in_for_the_login(guarded: Callable[..., TestClient]) -> None:
    """A program that starts runs by them also watches them."""
    client = guarded({"bob": "word"})
    for route in LOOKING:
        assert client.get(f"/tinv/v1/{route}").status_code == 401, route
        assert client.get(f"/tinv/v1/{route}", auth=("bob", "word")).status_code != 401, route


# --- time -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def port(host: DiffusersHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The server with short time limits."""
    monkeypatch.setattr(standalone, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(same_origin, "BODY_SECONDS", 0.3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    http: Any = standalone.timed_protocol
    config = uvicorn.Config(standalone.app_for(host), "127.0.0.1", number, log_level="error", http=http)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield number
    server.should_exit = True
    thread.join(20)


GET = b"GET /tinv/v1/labels HTTP/1.1\r\nHost: localhost\r\n"
SLOW = {
    "nothing": b"",
    "half a line": b"GET /tinv",
    "half a head": GET,
    "a second half": GET + b"\r\n" + GET,
    "half a body": b"POST /tinv/v1/train HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 90\r\n\r\n{",
    "half an upload": b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 900\r\n\r\n--x\r\n",
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_request_that_does_not_go_on_is_ended(port: int, kind: str) -> None:
    """The connection is closed, so that nobody can hold them all."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(SLOW[kind])
        while connection.recv(65536):
            pass


def test_settings_that_trickle_in_are_refused(
    jobs: JobQueue, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """408, in whatever program: each part comes in time, the whole does not."""
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)
    app = FastAPI()
    api.add_routes(app, jobs, True, None, None)
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(event: Any) -> None:
        sent.append(event)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"9999")]
    scope = {"type": "http", "method": "POST", "path": "/tinv/v1/train", "headers": headers, "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408
    assert jobs.all() == []


def test_the_rule_is_told_in_a_sentence() -> None:
    """With what to do about it."""
    problem = same_origin.foreign_host({"host": "lab.example:1"}, same_origin.LOOPBACK)
    assert problem
    assert said([problem], "server.foreign_host", host="lab.example")
