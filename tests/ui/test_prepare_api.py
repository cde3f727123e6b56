"""Preparations over HTTP: checked, carried out, looked at before and after, undone; within the same bounds."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from tests.prepare.pictures import photo
from tinv_ext.prepare.captions import Captioner, CaptionOf
from tinv_ext.server import api
from tinv_ext.server.allowed_paths import PathCheck, allow_only
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.preparations import Preparations
from tinv_ext.server.prepare_request import NAMES

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
    assert (over(routes)["images"], over(routes)["sentences"]) == ([], [])


def test_masks_are_told_where_there_are_some(client: Client, source: Path) -> None:
    """New ones, or those of before; not where none could be made."""
    routes, values = client(), {"source": str(source), "mask_backgrounds": True}

    def masks() -> bool:
        assert routes.post("/tinv/v1/prepare", json=values).status_code == 202
        return bool(over(routes)["masks"])

    assert not masks()
    plain = Image.new("RGB", (120, 80), "gray")
    plain.paste("red", (30, 20, 60, 60))
    plain.save(source / "d.png")
    assert masks()
    assert (source / "d-masklabel.png").is_file()
    assert masks()


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
    ("values", "told"),
    [
        ({"width": "wide"}, "“新图片的宽度 (width)”必须是整数。"),
        ({"height": 63}, "“新图片的高度 (height)”必须是 64 到 4096 之间 8 的倍数，不能是 63。"),
        ({"split_threshold": 2}, "“阈值 (split_threshold)”必须在 0 到 1.0 之间，不能是 2.0。"),
    ],
)
def test_an_option_is_told_by_its_label(client: Client, source: Path, values: dict[str, Any], told: str) -> None:
    """In the page's language, with its name for programs behind it."""
    for route in ("/tinv/v1/prepare/check", "/tinv/v1/prepare"):
        answer = client().post(route, params={"language": "zh_CN"}, json={"source": str(source), **values})
        assert answer.json()["detail"]["problems"] == [told]


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


@pytest.mark.parametrize("place", ["//server/share/x", "\\\\server\\share", "/dev/zero", "/proc/self/environ"])
def test_other_machines_and_devices_are_refused(client: Client, source: Path, place: str) -> None:
    """Also where every folder of this machine may be used, as on the standalone page."""
    routes = client()
    for name, places in (("check", {"source": place}), ("check", {"tagger": place}), ("undo", {"target": place})):
        told = routes.post(f"/tinv/v1/prepare/{name}", json={"source": str(source), **places})
        assert told.status_code == 422
        assert "is not a file or folder of this machine" in str(told.json()), (name, places)


def test_images_are_shown_to_nobody_who_may_not_name_their_folders(
    jobs: JobQueue, source: Path, tmp_path: Path
) -> None:
    """The same preparation, asked about by others: neither names nor pictures."""
    preparations = Preparations()

    def made(allowed: PathCheck | None) -> TestClient:
        app = FastAPI()
        api.add_routes(app, jobs, True, None, allowed, preparations=preparations)
        return TestClient(app)

    routes = made(None)
    values = {"source": str(source), "target": str(tmp_path / "out"), "width": 64, "height": 64}
    assert routes.post("/tinv/v1/prepare", json=values).status_code == 202
    assert len(over(routes)["images"]) == 3
    others = made(allow_only([source]))
    assert over(others)["images"] == []
    assert routes.get("/tinv/v1/prepare/picture").status_code == 200
    assert others.get("/tinv/v1/prepare/picture").status_code == 404


def test_one_preparation_at_a_time_and_its_end(client: Client, source: Path, tmp_path: Path) -> None:
    """While one waits for its captioner, another is refused; Stop ends it after the image at hand."""
    at_work, go_on = threading.Event(), threading.Event()

    @contextmanager
    def slow() -> Iterator[CaptionOf]:
        def say(image: Image.Image) -> str:
            at_work.set()
            assert go_on.wait(60)
            return "a caption"

        yield say

    routes = client({"blip": slow})
    assert routes.post("/tinv/v1/prepare", json={"source": str(source), "captioners": ["blip"]}).status_code == 202
    assert at_work.wait(60)
    assert "of 3 images done" in routes.get("/tinv/v1/prepare").json()["sentences"][0]
    refused = routes.post("/tinv/v1/prepare", json={"source": str(source), "target": str(tmp_path / "out")})
    assert (refused.status_code, refused.json()["detail"]["ids"]) == (422, ["server.preparing"])
    routes.post("/tinv/v1/prepare/stop")
    go_on.set()
    done = over(routes)["done"]
    assert {path.name for path in source.glob("*.txt")} == {f"{name}.txt" for name in "abc"[:done]}
    assert done < 3


def test_a_captioner_that_fails_is_told(client: Client, source: Path) -> None:
    """With the image."""

    @contextmanager
    def broken() -> Iterator[CaptionOf]:
        yield lambda image: str(1 / 0)

    routes = client({"deepbooru": broken})
    assert routes.post("/tinv/v1/prepare", json={"source": str(source), "captioners": ["deepbooru"]}).status_code == 202
    assert "deepbooru failed on a.png (ZeroDivisionError" in over(routes)["problems"][0]


def test_the_form_has_every_option(client: Client) -> None:
    """In order, with what a control needs; of captioners those that there are."""
    form = client().get("/tinv/v1/prepare/form").json()
    controls = {control["name"]: control for control in form["controls"]}
    assert set(controls) == set(NAMES)
    assert [control["group"] for control in form["controls"]] == sorted(
        (control["group"] for control in form["controls"]),
        key=[group["name"] for group in form["groups"]].index,
    )
    assert controls["crop"]["kind"] == "choice"
    assert controls["flip"]["kind"] == "several"
    assert (controls["width"]["kind"], controls["width"]["multiple"]) == ("whole", 8)
    assert [choice["value"] for choice in controls["captioners"]["choices"]] == ["wd14"]
    assert all(
        control["default"] == (list(d) if isinstance(d := NAMES[name], tuple) else d)
        for name, control in controls.items()
    )
