"""The routes of runs of before, of their trash, of the queue's order and of presets."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tinv_ext.library.library import Library
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.status import OVER
from tinv_ext.server.allowed_paths import allow_only
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.run_history import POINTS, thinned
from tinv_ext.server.run_list import started

Client = Callable[..., TestClient]


@pytest.fixture
def run(jobs: JobQueue, values: dict[str, Any]) -> tuple[str, Path]:
    """A run that is over, with previews, snapshots and evaluations: its id and its folder."""
    job = jobs.submit({**values, "steps": 6, "preview_every": 3, "save_every": 2, "evaluate_every": 2, "seed": 4})
    assert jobs.wait(job, 120)
    (folder,) = Path(values["output"]).glob("2*/*")
    return RunFolder(folder).id, folder


def asked(values: dict[str, Any], id: str) -> dict[str, str]:  # noqa: A002
    """The parameters that name a run."""
    return {"output": values["output"], "run": id}


def test_a_run_is_told_as_it_was(client: Client, values: dict[str, Any], run: tuple[str, Path]) -> None:
    """Its settings, curve, evaluations, snapshots, previews and the room that it takes; when it began."""
    routes = client()
    found = routes.get("/tinv/v1/runs/about", params=asked(values, run[0])).json()
    assert (found["settings"]["seed"], found["settings"]["name"]) == (4, "zibbo")
    assert [row[0] for row in found["curve"]] == [1, 2, 3, 4, 5, 6]
    assert found["previews"] == [0, 3, 6]
    assert found["snapshots"] == [2, 4, 6]
    assert found["best"] in found["evaluations"]
    sizes = {path.relative_to(run[1]): path.stat().st_size for path in run[1].rglob("*") if path.is_file()}
    assert found["sizes"]["run"] == sum(sizes.values())
    assert found["sizes"]["snapshots"] == sum(size for file, size in sizes.items() if "embeddings" in file.parts[0])
    (listed,) = routes.get("/tinv/v1/runs", params={"output": values["output"]}).json()
    assert listed["started"] == started(run[0])
    assert listed["started"][:10] == run[0][:10]


def test_previews_are_shown_small_and_whole(client: Client, values: dict[str, Any], run: tuple[str, Path]) -> None:
    """The last one, or that of a step; 404 for another."""
    routes = client()
    for more, kind in (({}, "PNG"), ({"step": 3}, "PNG"), ({"small": True}, "JPEG")):
        answer = routes.get("/tinv/v1/runs/preview", params={**asked(values, run[0]), **more})
        assert Image.open(io.BytesIO(answer.content)).format == kind
    for more in ({"step": 4}, {"index": 1}, {"index": -1}, {"run": "../x"}):
        assert routes.get("/tinv/v1/runs/preview", params={**asked(values, run[0]), **more}).status_code == 404


def test_parts_are_thrown_away_brought_back_and_deleted(
    client: Client, values: dict[str, Any], run: tuple[str, Path]
) -> None:
    """Snapshots, then the whole run; each comes back as it was; what is emptied is gone and frees its size."""
    routes, output = client(), {"output": values["output"]}

    def files() -> dict[str, bytes]:
        return {str(path.relative_to(run[1])): path.read_bytes() for path in run[1].rglob("*") if path.is_file()}

    before = files()
    for parts in (["snapshots"], ["previews", "state"], ["run"]):
        answer = routes.post("/tinv/v1/runs/delete", params=output, json={"run": run[0], "parts": parts})
        assert answer.status_code == 200, answer.text
        (gone,) = answer.json()["deleted"]
        assert gone["size"] == sum(len(before[name]) for name in before.keys() - files().keys()) > 0
        assert len(routes.get("/tinv/v1/runs", params=output).json()) == (parts != ["run"])
        assert routes.post("/tinv/v1/runs/restore", params=output, json={"id": gone["id"]}).status_code == 200
        assert files() == before
    routes.post("/tinv/v1/runs/delete", params=output, json={"run": run[0], "parts": ["run"]})
    assert routes.post("/tinv/v1/runs/empty", params=output).json()["deleted"] == []
    assert routes.get("/tinv/v1/runs", params=output).json() == []
    assert list((Path(values["output"]) / "deleted").iterdir()) == []


def test_parts_come_back_after_the_run_that_they_belong_to(
    client: Client, values: dict[str, Any], run: tuple[str, Path]
) -> None:
    """Alone they would be no run; what lies in its place without being one is in nobody's way."""
    routes, output = client(), {"output": values["output"]}
    for parts in (["snapshots"], ["run"]):
        routes.post("/tinv/v1/runs/delete", params=output, json={"run": run[0], "parts": parts})

    def restore(id: str) -> Any:  # noqa: A002
        return routes.post("/tinv/v1/runs/restore", params=output, json={"id": id})

    whole, snapshots = (one["id"] for one in routes.get("/tinv/v1/runs/deleted", params=output).json())
    assert restore(snapshots).json()["detail"]["ids"] == ["library.run_in_trash"]
    assert not run[1].exists()
    run[1].mkdir()
    assert [restore(one).status_code for one in (whole, snapshots)] == [200, 200]
    assert [one["id"] for one in routes.get("/tinv/v1/runs", params=output).json()] == [run[0]]
    assert list((run[1] / "embeddings").iterdir())


def test_what_was_deleted_by_hand_from_the_trash_is_not_in_it(
    client: Client, values: dict[str, Any], run: tuple[str, Path]
) -> None:
    """To make room; its record may be left."""
    routes, output = client(), {"output": values["output"]}
    answer = routes.post("/tinv/v1/runs/delete", params=output, json={"run": run[0], "parts": ["state"]})
    (gone,) = answer.json()["deleted"]
    shutil.rmtree(Path(values["output"]) / "deleted" / gone["id"] / "files")
    assert routes.get("/tinv/v1/runs/deleted", params=output).json() == []
    restored = routes.post("/tinv/v1/runs/restore", params=output, json={"id": gone["id"]})
    assert restored.json()["detail"]["ids"] == ["library.not_in_trash"]


def test_a_curve_stays_when_the_state_is_thrown_away(
    client: Client, values: dict[str, Any], run: tuple[str, Path]
) -> None:
    """A run without a state cannot be resumed, and is told as before."""
    routes, output = client(), {"output": values["output"]}
    routes.post("/tinv/v1/runs/delete", params=output, json={"run": run[0], "parts": ["state"]})
    found = routes.get("/tinv/v1/runs/about", params=asked(values, run[0])).json()
    assert len(found["curve"]) == 6
    assert not routes.get("/tinv/v1/runs", params=output).json()[0]["can_resume"]


def test_what_cannot_be_thrown_away_is_refused(client: Client, values: dict[str, Any], run: tuple[str, Path]) -> None:
    """A run in progress, one of another folder, a part that there is none of, a trash that is none."""
    routes, output = client(), {"output": values["output"]}
    job = routes.post("/tinv/v1/train", json={**values, "name": "zibother", "steps": 100_000}).json()["id"]
    while routes.get("/tinv/v1/status").json()["job"]["status"] != "training":
        time.sleep(0.05)
    (busy,) = [one["id"] for one in routes.get("/tinv/v1/runs", params=output).json() if one["name"] == "zibother"]
    for wrong, code in (
        ({"run": busy, "parts": ["run"]}, "server.run_in_progress"),
        ({"run": "../x", "parts": ["run"]}, "server.no_run"),
        ({"run": run[0], "parts": ["replaced"]}, "library.nothing_to_delete"),
        ({"run": run[0], "parts": ["../x"]}, "library.unknown_part"),
        ({"run": run[0], "parts": []}, "library.unknown_part"),
    ):
        answer = routes.post("/tinv/v1/runs/delete", params=output, json=wrong)
        assert answer.json()["detail"]["ids"] == [code], wrong
        if wrong["run"] == busy:  # what helps is not to resume it
            assert "or stop it first" in answer.json()["detail"]["problems"][0]
    restored = routes.post("/tinv/v1/runs/restore", params=output, json={"id": ".."})
    assert restored.json()["detail"]["ids"] == ["library.not_in_trash"]
    assert run[1].is_dir()
    routes.post("/tinv/v1/stop", params={"job": job})


def test_a_record_that_leads_elsewhere_is_no_trash(client: Client, values: dict[str, Any]) -> None:
    """Made by somebody else, it names a place outside."""
    place = Path(values["output"]) / "deleted" / "1"
    place.mkdir(parents=True)
    record = {"run": "../x", "parts": ["run"], "when": "", "size": 1}
    (place / "record.json").write_text(json.dumps(record), encoding="utf-8")
    assert client().get("/tinv/v1/runs/deleted", params={"output": values["output"]}).json() == []


def test_history_outside_of_the_open_folders_is_closed(client: Client, values: dict[str, Any], tmp_path: Path) -> None:
    """Neither told nor changed."""
    routes = client(allowed_paths=allow_only([tmp_path / "open"]))
    for route in ("about", "deleted"):
        answer = routes.get(f"/tinv/v1/runs/{route}", params=asked(values, "x"))
        assert answer.json()["detail"]["ids"] == ["server.path_not_allowed"]
    for route in ("delete", "restore", "empty"):
        body = {"run": "x", "parts": ["run"], "id": "x"}
        answer = routes.post(f"/tinv/v1/runs/{route}", params={"output": values["output"]}, json=body)
        assert answer.json()["detail"]["ids"] == ["server.path_not_allowed"]


def test_the_queue_is_put_in_order(client: Client, jobs: JobQueue, values: dict[str, Any]) -> None:
    """The last first; it is carried out in that order; one that is taken out never begins."""
    routes, ended = client(), list[str]()
    first = routes.post("/tinv/v1/train", json={**values, "steps": 100_000}).json()["id"]
    others = [routes.post("/tinv/v1/train", json={**values, "name": f"zib{n}"}).json()["id"] for n in "abc"]
    while jobs.get(first).status == "queued":
        time.sleep(0.02)
    assert [one["id"] for one in routes.get("/tinv/v1/queue").json()] == [first, *others]
    order = [others[2], others[0]]
    moved = routes.post("/tinv/v1/queue/order", json={"jobs": order})
    assert [one["id"] for one in moved.json()] == [first, *order, others[1]]
    refused = routes.post("/tinv/v1/queue/order", json={"jobs": [first]})
    assert refused.json()["detail"]["ids"] == ["server.not_waiting"]
    routes.post("/tinv/v1/stop", params={"job": others[0]})
    routes.post("/tinv/v1/stop", params={"job": first})
    while len(ended) < 4:
        ended += [job.id for job in jobs.all() if job.status in OVER and job.id not in ended]
        time.sleep(0.01)
    assert ended.index(others[2]) < ended.index(others[1])
    assert jobs.get(others[0]).steps == 0


def test_what_a_run_has_not_replaced_is_not_brought_back(
    client: Client, values: dict[str, Any], run: tuple[str, Path], host: Any
) -> None:
    """It is told; without a library of embeddings there is no such route."""
    routes, asked_of = client(library=Library(host.embeddings_folder)), {"output": values["output"]}
    told = routes.get("/tinv/v1/runs/about", params=asked(values, run[0])).json()
    assert told["replaced"] == []
    for file in ("zibbo.pt", "../config.json"):
        answer = routes.post("/tinv/v1/runs/bring_back", params=asked_of, json={"run": run[0], "file": file})
        assert answer.status_code == 422
        assert answer.json()["detail"]["ids"] == ["server.not_replaced"]
    given = {"run": run[0], "file": "zibbo.pt"}
    assert client().post("/tinv/v1/runs/bring_back", params=asked_of, json=given).status_code == 404


def test_presets_are_kept_exported_and_imported(client: Client, jobs: JobQueue, tmp_path: Path) -> None:
    """What differs from the defaults and is not of one run; the same comes back; what is wrong is told by setting."""
    jobs.presets = type(jobs.presets)(tmp_path / "presets")
    routes = client()
    settings = {"name": "zibbo", "images": "/x", "steps": "77", "num_vectors": 3, "seed": 0}
    saved = routes.post("/tinv/v1/presets/save", json={"name": "mine", "settings": settings})
    assert saved.json()["preset"] == {"name": "mine", "settings": {"steps": 77, "num_vectors": 3}}
    (exported,) = routes.get("/tinv/v1/presets").json()
    assert exported == saved.json()["preset"]
    again = routes.post("/tinv/v1/presets/save", json=exported)
    assert again.json()["detail"]["ids"] == ["server.preset_exists"]
    assert routes.post("/tinv/v1/presets/save", json={**exported, "replace": True}).status_code == 200
    deleted = routes.post("/tinv/v1/presets/delete", json={"name": "mine"}).json()["preset"]
    assert routes.get("/tinv/v1/presets").json() == []
    assert routes.post("/tinv/v1/presets/save", json=deleted).status_code == 200
    wrong = routes.post("/tinv/v1/presets/save", json={"name": "../x", "settings": {"steps": "many", "nonsense": 1}})
    assert len(wrong.json()["detail"]["ids"]) >= 3
    assert routes.post("/tinv/v1/presets/save", json={"name": "x", "settings": 3}).status_code == 422
    assert routes.post("/tinv/v1/presets/delete", json={"name": "../mine"}).status_code == 422
    (tmp_path / "presets" / "broken.json").write_text("{", encoding="utf-8")
    assert [one["name"] for one in routes.get("/tinv/v1/presets").json()] == ["mine"]


def test_a_long_curve_is_thinned() -> None:
    """First and last stay, the others are evenly chosen."""
    chosen = thinned(range(10_000))
    assert (len(chosen), chosen[0], chosen[-1]) == (POINTS, 0, 9999)
    assert thinned([1, 2]) == [1, 2]


def test_words_of_a_run_go_with_it(client: Client, jobs: JobQueue, values: dict[str, Any]) -> None:
    """A step that is tried by a word of its own is told, and forgotten with its snapshots."""
    job = jobs.submit({**values, "name": "zibtried", "save_every": 2})
    assert jobs.wait(job, 120)
    routes, output = client(), {"output": values["output"]}
    answer = routes.post("/tinv/v1/tried/add", params={"job": job.id, "step": 2})
    told = {"word": "zibtried-2", "name": "zibtried", "step": 2, "known": True}
    assert answer.json() == {"word": "zibtried-2", "tried": [told]}, answer.text
    assert routes.get("/tinv/v1/tried").json() == [told]
    (run,) = [one["id"] for one in routes.get("/tinv/v1/runs", params=output).json() if one["name"] == "zibtried"]
    answer = routes.post("/tinv/v1/runs/delete", params=output, json={"run": run, "parts": ["snapshots"]})
    assert answer.status_code == 200, answer.text
    assert routes.get("/tinv/v1/tried").json() == []
    assert routes.post("/tinv/v1/tried/forget", params={"word": "zibtried-2"}).status_code == 422
