"""Requests that nobody foresees: any settings, bodies and parameters get an answer, and nothing closed is touched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

pytest.importorskip("hypothesis", reason="the set with gradio 4 has none")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.routes import Served
from tinv_ext.core.settings import ALIASES, SETTINGS
from tinv_ext.server.allowed_paths import PATHS
from tinv_ext.server.openapi import described

GETS = ["status", "schema", "labels", "picture", "jobs", "runs", "queue", "queue/left", "presets"]
GETS += ["embeddings", "embeddings/about", "embeddings/file", "embeddings/thumbnail"]
GETS += ["texts", "chart", "words", "previews", "snapshots", "embedding", "tried"]
GETS += ["runs/about", "runs/preview", "runs/deleted"]
POSTS = ["train", "check", "resume", "stop", "pause", "snapshot", "preview", "image", "use"]
POSTS += ["queue/order", "queue/again", "queue/forget", "runs/leave"]
POSTS += [f"embeddings/{name}" for name in ("rename", "extend", "average", "delete", "restore", "convert", "add")]
POSTS += ["runs/delete", "runs/restore", "runs/empty", "runs/bring_back", "presets/save", "presets/delete"]
KEYS = ["key", "name", "count", "fill", "keys", "weights", "id", "to", "parts", "jobs", "run", "prompt", "settings"]
GETS += ["settings", "folders", "images/thumbnail", "templates"]
POSTS += ["outlook", "templates", "templates/delete", "images", "settings/read"]
POSTS += [f"images/{what}" for what in ("new", "caption", "turn", "remove", "undo")]
SEEDED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

texts = st.text(max_size=30)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.just(10**400) | st.just("1e999")
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
names = st.sampled_from([*SETTINGS, *ALIASES]) | texts


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The routes, with all jobs stopped in the end."""
    served = Served(tmp_path)
    monkeypatch.chdir(served.home)
    yield served
    served.stop_jobs()
    for job in served.queue.all():
        assert served.queue.wait(job, 60)


def told(served: Served, method: str, route: str, **request: Any) -> Any:
    """The answer's JSON, if it is as /openapi.json says, came without a bug and touched nothing that is closed."""
    with served.watched() as touched:
        client = TestClient(served.app, raise_server_exceptions=False)
        answer = client.request(method, f"/tinv/v1/{route}", **request)
    facts = described(method, f"/{route}")
    assert answer.status_code in {facts["status_code"], *facts["responses"]} - {500}, answer.text
    assert touched == []
    if answer.headers["content-type"] == "image/png":
        return None
    content = answer.json()
    if answer.status_code >= 400:
        assert content["detail"]
    return content


@SEEDED
@given(
    st.sampled_from(["train", "check", "outlook", "images"]),
    st.dictionaries(names, anything, max_size=4),
    st.booleans(),
    st.data(),
)
def test_any_settings(served: Served, route: str, odd: dict[str, Any], usual: bool, data: st.DataObject) -> None:
    """Over usual ones and by themselves, with any place for any path: an answer, and nothing is left running."""
    places = data.draw(st.dictionaries(st.sampled_from(PATHS), st.sampled_from(served.places()), max_size=2))
    values = {**(served.values() if usual else {}), **odd, **places}
    told(served, "POST", route, content=json.dumps(values).encode(), headers={"Content-Type": "application/json"})
    served.stop_jobs()


@pytest.mark.parametrize("route", ["outlook", "check", "images"])
def test_a_closed_log_directory_is_not_looked_into(served: Served, route: str) -> None:
    """Not for an estimate of time either."""
    body = json.dumps({**served.values(), "output": str(served.closed)}).encode()
    told(served, "POST", route, content=body, headers={"Content-Type": "application/json"})


@SEEDED
@given(st.sampled_from(POSTS), st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode()), texts)
def test_any_body(served: Served, route: str, body: bytes, kind: str) -> None:
    """Whatever it is and calls itself."""
    kind = kind.encode("ascii", "ignore").decode() if "\n" not in kind else ""
    for header in ("application/json", "application/octet-stream", "".join(filter(str.isprintable, kind))):
        told(served, "POST", route, content=body, headers={"Content-Type": header})


@SEEDED
@given(st.sampled_from(POSTS), st.dictionaries(st.sampled_from(KEYS), anything, max_size=5), st.data())
def test_any_values(served: Served, route: str, values: dict[str, Any], data: st.DataObject) -> None:
    """Whatever each is, and keys, names and runs that are ways out of the folder."""
    place = st.sampled_from(served.places())
    odd = data.draw(st.dictionaries(st.sampled_from(["key", "name", "id", "run"]), place, max_size=2))
    body = json.dumps({**values, **odd}).encode()
    told(served, "POST", route, content=body, headers={"Content-Type": "application/json"})


@SEEDED
@given(st.sampled_from([("GET", route) for route in GETS] + [("POST", route) for route in POSTS]), st.data())
def test_any_parameters(served: Served, asked: tuple[str, str], data: st.DataObject) -> None:
    """Numbers that are none or far too large, jobs that are not there, runs and folders of others, any language."""
    (method, route), place = asked, st.sampled_from(served.places())
    text = (texts | place).map(lambda value: value.encode("utf-8", "replace").decode())
    number = st.integers().map(str) | st.sampled_from(["9" * 400, "-1", "nan", "0x1"]) | text
    kinds = {"job": text, "run": text, "output": text, "language": text, "since": number, "index": number}
    kinds |= {
        "word": text,
        "over": number,
        "key": text,
        "name": text,
        "step": number,
        "small": number,
        "points": number,
    }
    kinds |= {"path": text, "id": text, "first": number, "count": number}
    parameters = {name: data.draw(kind) for name, kind in kinds.items() if data.draw(st.booleans())}
    told(served, method, route, params=parameters)


def test_the_watch_sees_what_is_closed(served: Served) -> None:
    """So that the tests above can fail."""
    with served.watched() as touched:
        (served.home / "link" / "red.png").read_bytes()
        (served.home / "images" / "red.png").read_bytes()
        list(served.closed.iterdir())
    assert [line.rpartition("/")[2] for line in touched] == ["red.png", "closed"]


def test_the_description_is_whole(served: Served) -> None:
    """Every setting of /train, /check and /resume with its type, and every refusal."""
    paths = served.app.openapi()["paths"]
    for route in ("train", "check", "resume"):
        body = paths[f"/tinv/v1/{route}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert set(body["properties"]) == set(SETTINGS)
    assert body["properties"]["steps"]["type"] == "integer"
    assert set(paths["/tinv/v1/train"]["post"]["responses"]) >= {"202", "408", "413", "415", "422"}
    assert set(paths["/tinv/v1/embedding"]["get"]["responses"]["200"]["content"]) == {"application/octet-stream"}
    assert set(paths["/tinv/v1/runs/preview"]["get"]["responses"]["200"]["content"]) == {"image/png", "image/jpeg"}
    assert set(paths["/tinv/v1/settings/read"]["post"]["requestBody"]["content"]) == {"application/octet-stream"}
