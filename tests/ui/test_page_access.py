"""The page's own way in: its token lets it change things without --api, and lets nobody else."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.messages import said
from tests.ui.conftest import TOKEN
from tests.ui.test_api import over
from tinv_ext import standalone
from tinv_ext.core.messages import languages, templates
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.server import api, page_files, page_texts
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.routes.access import TOKEN_HEADER
from tinv_ext.ui import page
from tinv_ext.ui.context import PageContext

Client = Callable[..., TestClient]
MINE = {TOKEN_HEADER: TOKEN}
NOT_MINE = ("", "x", TOKEN[:-1], TOKEN + " ", TOKEN.upper(), "ü" * 20, "a" * 10_000)
LOOKING = (
    "status",
    "schema",
    "labels",
    "texts",
    "picture",
    "chart",
    "words",
    "previews",
    "snapshots",
    "tried",
    "queue",
)
CHANGES = (
    "use?job=x&step=1",
    "tried/add?job=x&step=1",
    "tried/forget?word=x",
    "train",
    "check",
    "stop?job=x",
    "pause?job=x",
    "resume?run=x",
    "snapshot?job=x",
    "preview?job=x",
    "runs/empty",
    "presets/save",
    "outlook",
    "templates",
    "images",
    *(f"images/{what}" for what in ("new", "caption", "mask", "background", "turn", "remove", "undo")),
)


def sent(header: str) -> dict[str, bytes]:
    """As a browser sends it: Latin-1."""
    return {TOKEN_HEADER: header.encode("latin-1")}


def test_the_page_may_do_everything_where_programs_may_not(client: Client, values: dict[str, Any]) -> None:
    """A WebUI without --api: 404 for programs, as ever; the page trains."""
    routes = client(changing=False)
    assert routes.post("/tinv/v1/train", json=values).status_code == 404
    assert routes.get("/tinv/v1/jobs").status_code == 404
    answer = routes.post("/tinv/v1/train", json=values, headers=MINE)
    assert answer.status_code == 202
    assert over(routes, answer.json()["id"])["status"] == "finished"
    (job,) = routes.get("/tinv/v1/jobs", headers=MINE).json()
    assert job["path"].endswith("zibbo.pt")


@pytest.mark.parametrize("token", NOT_MINE)
def test_another_token_is_refused(client: Client, values: dict[str, Any], jobs: JobQueue, token: str) -> None:
    """Even where programs may, and with their credentials: the page is told to reload."""
    for routes in (client(changing=False), client(), client(credentials={"ann": "secret"})):
        for route in CHANGES:
            answer = routes.post(f"/tinv/v1/{route}", json=values, headers=sent(token), auth=("ann", "secret"))
            assert answer.status_code == 403, route
            assert answer.json()["detail"]["ids"] == ["api.page_outdated"]
    assert jobs.all() == []


def test_an_empty_token_is_nobodys(client: Client, values: dict[str, Any]) -> None:
    """Where no page was given one, nobody can come in by it."""
    routes = client(changing=False, token="")
    for token in ("", TOKEN):
        assert routes.post("/tinv/v1/check", json=values, headers=sent(token)).status_code == 403


def test_the_token_stands_in_for_the_apis_credentials_but_for_no_login(
    client: Client, jobs: JobQueue, values: dict[str, Any]
) -> None:
    """--api-auth is for programs; who sees the page has logged in at the page."""
    assert client(credentials={"ann": "secret"}).post("/tinv/v1/check", json=values, headers=MINE).status_code == 200
    import gradio as gr
    from gradio.routes import App

    with gr.Blocks() as blocks:
        page.build(PageContext(token=TOKEN))
    blocks.auth, blocks.auth_message = [("ann", "secret")], None
    app = App.create_app(blocks)
    api.add_routes(app, jobs, False, None, None, token=TOKEN)
    guarded = TestClient(app, base_url="http://127.0.0.1")
    version = page_files.version(page_files.files())
    for route in ("/config", "/", "/tinv/v1/texts", f"/tinv/v1/page/{version}/app.js"):
        assert TOKEN not in guarded.get(route).text
    assert guarded.get("/tinv/v1/texts").status_code == 401
    assert guarded.post("/tinv/v1/check", json=values, headers=MINE).status_code == 401
    assert guarded.post("/login", data={"username": "ann", "password": "secret"}).status_code == 200
    assert TOKEN.replace("'", "&#x27;") in guarded.get("/config").json()["components"].__str__()
    assert guarded.post("/tinv/v1/check", json=values, headers=MINE).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.test", "null"])
def test_the_token_does_not_help_another_page(client: Client, values: dict[str, Any], origin: str) -> None:
    """Nor is it allowed to ask with such a header."""
    headers = {**MINE, "Origin": origin}
    assert client(changing=False).post("/tinv/v1/train", json=values, headers=headers).status_code == 403
    asks = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": TOKEN_HEADER}
    answer = client().options("/tinv/v1/train", headers=asks)
    assert answer.status_code in (403, 405)
    assert "access-control-allow-headers" not in answer.headers


def test_no_route_tells_the_token(client: Client, values: dict[str, Any]) -> None:
    """It is in the page's HTML alone."""
    routes = client()
    routes.post("/tinv/v1/train", json=values)
    for route in ("status", "schema", "labels", "texts", "jobs", "runs"):
        assert TOKEN not in routes.get(f"/tinv/v1/{route}").text
    assert TOKEN not in routes.get("/openapi.json").text


def test_a_process_has_a_token_of_its_own(host: DiffusersHost) -> None:
    """Long, and another one each time."""
    tokens = set()
    for _ in range(2):
        config = TestClient(standalone.app_for(host), base_url="http://127.0.0.1").get("/config").text
        tokens |= set(re.findall(r'data-token=\\"([\w-]+)\\"', config))
    assert len(tokens) == 2
    assert min(map(len, tokens)) >= 40


def test_routes_for_the_page_alone_are_not_described_to_programs(jobs: JobQueue) -> None:
    """Without --api /openapi.json has what programs may ask, as before."""
    app = FastAPI()
    api.add_routes(app, jobs, False, None, None, token=TOKEN)
    assert set(app.openapi()["paths"]) == {f"/tinv/v1/{name}" for name in LOOKING}


def test_only_the_files_of_the_page_are_served(client: Client) -> None:
    """Script and styles as such, whatever the version; nothing beside them."""
    routes = client(changing=False)
    for name, kind in (("app.js", "text/javascript"), ("style.css", "text/css"), ("vendor/htm.js", "text/javascript")):
        answer = routes.get(f"/tinv/v1/page/any/{name}")
        assert answer.content == (page_files.FOLDER / name).read_bytes()
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert {name for name in page_files.files() if page_files.file_at(name)} == set(page_files.files())
    assert page_files.file_at("vendor/../app.js") is None
    for name in (
        "",
        "vendor",
        "vendor/LICENSES.txt",
        "nothing.js",
        "../tinv.js",
        "%2e%2e/tinv.js",
        "//etc/passwd",
    ):
        assert routes.get(f"/tinv/v1/page/any/{name}").status_code == 404, name


def test_every_text_is_sent_in_both_languages(client: Client) -> None:
    """Templates, with what the script will put in."""
    english, chinese = (
        client().get("/tinv/v1/texts", params={"language": name}).json()["texts"] for name in ("en", *languages())
    )
    assert english == {text.id: text.template for text in page_texts.TEXTS}
    assert chinese == {text.id: templates("zh_CN")[text.id] for text in page_texts.TEXTS}


def test_the_script_asks_for_the_texts_that_there_are() -> None:
    """No id without a text, and no text that nobody shows."""
    script = "".join(path.read_text("utf-8") for name, path in page_files.files().items() if "vendor/" not in name)
    asked = set(re.findall(r'\bt\(\s*"([\w.]+)"', script)) | set(re.findall(r'/\* text \*/ "([\w.]+)"', script))
    assert asked == {text.id for text in page_texts.TEXTS}
    assert said([text for text in page_texts.TEXTS if text.id == "page.try_again"], "page.try_again")
