"""Preparations over HTTP: checked, carried out, looked at before and after, undone; within the same bounds."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from tests.prepare.pictures import photo
from tinv_ext.prepare.captions import Captioner
from tinv_ext.server import api
from tinv_ext.server.allowed_paths import PathCheck, allow_only
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.preparations import Preparations

Client = Callable[..., TestClient]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three images, one another's copy."""
    folder = tmp_path / "in"
    folder.mkdir()
    photo(1, 300, 200).save(folder / "a.png")
    photo(1, 300, 200).resize((150, 100)).save(folder / "b.png")
    photo(2, 300, 200).save(folder / "c.png")
    return folder


@pytest.fixture
def client(jobs: JobQueue) -> Client:
    """A client of the routes, perhaps with captioners or bounds."""

    def make(captioners: Mapping[str, Captioner] | None = None, allowed: PathCheck | None = None) -> TestClient:
        app = FastAPI()
        preparations = Preparations(lambda: captioners or {})
        api.add_routes(app, jobs, True, None, allowed, preparations=preparations)
        return TestClient(app)

    return make


def over(routes: TestClient) -> dict[str, Any]:
    """How the preparation stands once it is over."""
    while (found := routes.get("/tinv/v1/prepare").json())["at_work"]:
        time.sleep(0.02)
    return dict(found)


def test_checked_prepared_shown_and_undone(client: Client, source: Path, tmp_path: Path) -> None:
    """What the check says is done; each new image is beside its original; undo leaves nothing."""
    routes, out = client(), tmp_path / "out"
    values = {"source": str(source), "target": str(out), "width": 64, "height": 128, "leave_out": ["duplicates"]}
    found = routes.post("/tinv/v1/prepare/check", json={**values, "flip": ["horizontal"]}).json()
    assert [image["left_out"] for image in found["images"]].count("duplicates") == 1
    assert found["count"] == 3
    assert not out.exists()
    answer = routes.post("/tinv/v1/prepare", json={**values, "flip": ["horizontal"]})
    assert (answer.status_code, answer.json()) == (202, found)
    done = over(routes)
    assert (done["done"], done["total"], done["problems"], len(done["images"])) == (2, 2, [], 4)
    assert {new for _, new in done["images"]} == {path.name for path in out.glob("*.png")}
    for before, size in ((False, (64, 128)), (True, (300, 200))):
        picture = routes.get("/tinv/v1/prepare/picture", params={"index": 1, "before": before})
        assert Image.open(io.BytesIO(picture.content)).size == size
    assert routes.get("/tinv/v1/prepare/picture", params={"index": 4}).status_code == 404
    assert routes.post("/tinv/v1/prepare/undo", json={"target": str(out)}).status_code == 200
    assert list(out.glob("*.png")) == []
    assert over(routes)["images"] == []


def test_captions_by_what_the_program_has(client: Client, source: Path) -> None:
    """Its captioners are there by name; another one is refused, and nothing begins."""

    class Says:
        def __enter__(self) -> Callable[[Any], str]:
            return lambda image: "a photo"

        def __exit__(self, *error: object) -> None:
            return None

    routes = client({"blip": Says})
    values = {"source": str(source), "captioners": ["blip"]}
    assert routes.post("/tinv/v1/prepare", json=values).status_code == 202
    over(routes)
    assert (source / "a.txt").read_text() == "a photo"
    refused = routes.post("/tinv/v1/prepare", json={**values, "captioners": ["deepbooru"]})
    assert (refused.status_code, refused.json()["detail"]["ids"]) == (422, ["prepare.only_in_webui"])


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"width": "wide", "crops": 1}, {"api.wrong_value", "api.unknown_name"}),
        ({"flip": "horizontal"}, {"api.wrong_value"}),
        ({"crop": "sideways", "width": 63}, {"prepare.no_choice", "prepare.size"}),
        ({"source": ""}, {"ui.no_source"}),
        ({"target": "/elsewhere/out"}, None),
    ],
)
def test_what_is_wrong_is_told_at_once(
    client: Client, source: Path, tmp_path: Path, values: dict[str, Any], wanted: set[str] | None
) -> None:
    """Every problem, by its id; folders outside the bounds, too."""
    routes = client(allowed=allow_only([tmp_path]))
    given = {"source": str(source), "target": str(tmp_path / "out"), **values}
    for name in ("prepare", "prepare/check"):
        answer = routes.post(f"/tinv/v1/{name}", json=given)
        assert answer.status_code == 422
        assert wanted is None or set(answer.json()["detail"]["ids"]) >= wanted
    assert not over(routes)["total"]


def test_the_page_shows_before_and_after(source: Path, tmp_path: Path) -> None:
    """Small copies in turn; none to whoever may not name the folders."""
    pytest.importorskip("gradio")
    from tinv_ext.prepare.plan import plan
    from tinv_ext.server.prepare_request import options_of
    from tinv_ext.ui.context import PageContext
    from tinv_ext.ui.prepare_tab import _Actions

    bounds: list[PathCheck | None] = [None]
    context = PageContext(allowed_paths=lambda request: bounds[0])
    values = {"source": str(source), "target": str(tmp_path / "out"), "width": 64, "height": 64}
    context.preparations.start(plan(options_of(values)), {})
    for _ in context.preparations.follow():
        pass
    actions, stranger = _Actions({}, context), SimpleNamespace(client=None, headers={})
    shown = actions.before_and_after(stranger)  # type: ignore[arg-type]
    assert [image.size for image, _ in shown][:2] == [(256, 171), (64, 64)]
    assert len(shown) == 6
    bounds[0] = allow_only([tmp_path / "in"])
    assert actions.before_and_after(stranger) == []  # type: ignore[arg-type]
