"""The routes: what they answer, what they refuse, and what they never tell."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient
from PIL import Image

from tests.server.test_job_queue import until
from tinv_ext.core.errors import HostError
from tinv_ext.core.settings import SETTINGS
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.status import Status
from tinv_ext.server import api
from tinv_ext.server.allowed_paths import allow_only
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.queued_run import MAX_ROWS, Job
from tinv_ext.server.routes.route import json_body

Client = Callable[..., TestClient]


def status(client: TestClient, job: str = "", since: int = 0) -> dict[str, Any]:
    """What the status route says of a job."""
    found: dict[str, Any] = client.get("/tinv/v1/status", params={"job": job, "since": since}).json()["job"]
    return found


def over(client: TestClient, job: str) -> dict[str, Any]:
    """The status when the job is over."""
    for _ in range(600):
        found = status(client, job)
        if found["status"] in ("finished", "stopped", "failed"):
            return found
        time.sleep(0.05)
    raise AssertionError(f"still {found}")


def test_train_answers_202_and_the_job_can_be_followed_to_its_end(client: Client, values: dict[str, Any]) -> None:
    """An id at once; then the curve, only what is new of it."""
    routes = client()
    answer = routes.post("/tinv/v1/train", json=values)
    assert answer.status_code == 202
    found = over(routes, answer.json()["id"])
    assert (found["status"], found["steps"], found["total"]) == ("finished", 5, 5)
    assert [row["step"] for row in status(routes, found["id"], since=3)["curve"]] == [4, 5]
    assert status(routes)["id"] == found["id"]


def test_bad_settings_are_422_with_every_problem(client: Client, jobs: JobQueue) -> None:
    """Nothing is started."""
    answer = client().post("/tinv/v1/train", json={"name": "cat", "images": "nowhere", "steps": "many"})
    assert answer.status_code == 422
    assert len(answer.json()["detail"]["problems"]) == 3
    assert jobs.all() == []


def test_check_tells_the_plan_and_starts_nothing(client: Client, values: dict[str, Any], jobs: JobQueue) -> None:
    """Notices and ten prompts."""
    answer = client().post("/tinv/v1/check", json=values)
    assert answer.status_code == 200
    assert len(answer.json()["prompts"]) == 10
    assert jobs.all() == []


def test_a_job_is_steered(client: Client, values: dict[str, Any]) -> None:
    """Preview now gives a picture, stop ends it, an unknown job is refused."""
    routes = client()
    job = routes.post("/tinv/v1/train", json={**values, "steps": 100_000}).json()["id"]
    assert routes.post("/tinv/v1/preview", params={"job": job}).status_code == 200
    while not status(routes, job)["previews"]:
        time.sleep(0.05)
    picture = routes.get("/tinv/v1/picture", params={"job": job, "index": 0})
    assert Image.open(io.BytesIO(picture.content)).size == (64, 64)
    assert routes.get("/tinv/v1/picture", params={"job": job, "index": 7}).status_code == 404
    assert routes.post("/tinv/v1/stop", params={"job": job}).status_code == 200
    assert over(routes, job)["status"] == "stopped"
    assert routes.post("/tinv/v1/stop", params={"job": "none"}).status_code == 422


def test_a_queued_job_that_is_watched_waits_for_its_turn(client: Client, values: dict[str, Any]) -> None:
    """It tells how many steps it will have, and who waits beside it, but not itself."""
    routes = client()
    first, second, _ = (
        routes.post("/tinv/v1/train", json={**values, "name": name, "steps": steps}).json()["id"]
        for name, steps in (("zibbo", 100_000), ("zibbo-2", 7), ("zibbo-3", 7))
    )
    answer = routes.get("/tinv/v1/status", params={"job": second}).json()
    assert (answer["job"]["status"], answer["job"]["total"], answer["queued"]) == ("queued", 7, ["zibbo-3"])
    assert answer["texts"]["figures"] == ["waits for its turn, with 7 steps to take"]
    assert "zibbo-2" not in answer["texts"]["title"].removeprefix("zibbo-2: ")
    assert routes.get("/tinv/v1/status", params={"job": first}).json()["queued"] == ["zibbo-2", "zibbo-3"]


def test_looking_shows_no_paths(client: Client, values: dict[str, Any], tmp_path: Path) -> None:
    """Neither the status nor the schema names a place of the machine."""
    routes = client()
    job = routes.post("/tinv/v1/train", json=values).json()["id"]
    over(routes, job)
    for route in ("/tinv/v1/status", "/tinv/v1/schema"):
        assert str(tmp_path) not in routes.get(route).text


def test_without_leave_there_is_nothing_to_change(client: Client, values: dict[str, Any]) -> None:
    """Routes that change anything do not exist then: 404 (405 is as good)."""
    routes = client(changing=False)
    for name in ("train", "check", "stop", "pause", "resume", "snapshot", "preview"):
        assert routes.post(f"/tinv/v1/{name}", json=values).status_code in (404, 405)
    assert routes.get("/tinv/v1/runs").status_code == 404
    assert routes.get("/tinv/v1/status").status_code == 200


@pytest.mark.parametrize("given", [None, ("ann", "wrong"), ("bob", "secret"), ("ann", "")])
def test_credentials_are_asked_for(client: Client, values: dict[str, Any], given: Any) -> None:
    """Without the right name and password: 401; with them: on."""
    routes = client(credentials={"ann": "secret"})
    assert routes.post("/tinv/v1/check", json=values, auth=given).status_code == 401
    assert routes.post("/tinv/v1/check", json=values, auth=("ann", "secret")).status_code == 200


@pytest.mark.parametrize("header", ["Basic ###", "Bearer x", "Basic", "Basic " + "YQ" * 5000])
def test_a_crooked_authorization_is_401(client: Client, header: str) -> None:
    """No crash on what is no Basic header."""
    routes = client(credentials={"ann": "secret"})
    assert routes.get("/tinv/v1/runs", headers={"Authorization": header}).status_code == 401


def test_bodies_are_bounded_and_must_be_objects(client: Client) -> None:
    """413 for the large, 422 for what is no object of settings."""
    routes, json = client(), {"Content-Type": "application/json"}
    assert routes.post("/tinv/v1/train", content=b"[" * 100_000, headers=json).status_code == 413
    for body in (b"[1]", b"{", b"[" * 5000, b"\xff"):
        assert routes.post("/tinv/v1/train", content=body, headers=json).status_code == 422


def test_a_question_that_is_taken_back_is_no_error() -> None:
    """As the page does while somebody types: the connection ends before the body is there."""

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    with pytest.raises(HTTPException) as told:
        asyncio.run(json_body(Request({"type": "http", "method": "POST", "headers": []}, receive), "en"))
    assert told.value.status_code == 400


def test_a_long_curve_comes_in_parts(client: Client, jobs: JobQueue) -> None:
    """No answer is larger than `MAX_ROWS` rows; `since` asks for the rest, and nothing is missing or comes twice."""
    job = Job("x", SimpleNamespace(name="zibbo", names=["zibbo"]), now=Status("finished", 5000, total=5000))  # type: ignore[arg-type]
    job.curve += [{"step": step, "loss": 0.1, "vector_norm": 1.0, "distance": 0.0} for step in range(1, 5001)]
    job.evaluations += [(step, 0.1) for step in range(0, 5001, 2)]
    jobs._jobs["x"], routes, steps, evaluations = job, client(), list[int](), set[int]()
    more = True
    while more:
        view = status(routes, "x", since=steps[-1] if steps else 0)
        assert len(view["curve"]) <= MAX_ROWS
        assert len(view["evaluations"]) <= MAX_ROWS
        steps += [row["step"] for row in view["curve"]]
        evaluations |= {step for step, _ in view["evaluations"]}
        more = view["more"]
    assert steps == list(range(1, 5001))
    assert evaluations == set(range(0, 5001, 2))
    jobs._jobs.clear()


def test_paths_outside_of_the_opened_folders_are_refused(
    client: Client, values: dict[str, Any], tmp_path: Path, jobs: JobQueue
) -> None:
    """Absolute, relative, by a link, in any setting that names a place; inside it works."""
    inside, secret = tmp_path / "data", tmp_path / "secret"
    inside.mkdir(), secret.mkdir()
    (inside / "link").symlink_to(secret)
    routes = client(allowed_paths=allow_only([inside]))
    for images in (str(secret), str(inside / ".." / "secret"), str(inside / "link"), "a\0b"):
        answer = routes.post("/tinv/v1/check", json={**values, "images": images, "output": str(inside)})
        assert answer.status_code == 422
        assert "outside" in answer.json()["detail"]["problems"][0], images
    for name in ("init_embedding", "template", "output"):
        answer = routes.post("/tinv/v1/check", json={**values, "images": str(inside), name: "/etc/passwd"})
        assert f"({name})" in "".join(answer.json()["detail"]["problems"])
    Path(values["images"]).rename(inside / "pictures")
    kept = {**values, "images": str(inside / "pictures"), "output": str(inside / "log")}
    assert routes.post("/tinv/v1/check", json=kept).status_code == 200


def test_the_schema_says_all_that_the_page_knows(client: Client) -> None:
    """Every setting with its label, group and default."""
    said = client().get("/tinv/v1/schema").json()
    assert set(said) == set(SETTINGS)
    assert said["num_vectors"] == {
        "group": "word",
        "label": "Number of vectors per token",
        "help": SETTINGS["num_vectors"].help,
        "minimum": 0,
        "maximum": 75,
        "default": 1,
        "type": "int",
    }


def test_adding_the_routes_again_leaves_one_set(jobs: JobQueue) -> None:
    """As after Reload UI."""
    app = FastAPI()
    for asked in (False, True, True):
        api.add_routes(app, jobs, True, None, None)
        assert not asked or TestClient(app).get("/tinv/v1/status").status_code == 200
    paths = [(*route.methods, route.path) for route in app.router.routes if route.path.startswith("/tinv")]
    assert len(paths) == len(set(paths)) > 5


def test_runs_are_listed_and_can_go_on(client: Client, jobs: JobQueue, values: dict[str, Any], tmp_path: Path) -> None:
    """With other settings, after a check of them; what is at work or unknown is refused."""
    routes = client()
    output = {"output": values["output"]}
    job = routes.post("/tinv/v1/train", json=values).json()["id"]
    over(routes, job)
    (run,) = routes.get("/tinv/v1/runs", params=output).json()
    assert (run["name"], run["status"], run["steps"], run["can_resume"]) == ("zibbo", "finished", 5, True)
    assert str(tmp_path) not in str(run)
    go_on = {**output, "run": run["id"]}
    assert "more steps" in routes.post("/tinv/v1/resume", params=go_on).json()["detail"]["problems"][0]
    assert routes.post("/tinv/v1/resume", params=go_on, json={"learning_rate": "x"}).status_code == 422
    assert routes.post("/tinv/v1/resume", params={**go_on, "run": "../x"}).status_code == 422
    assert routes.post("/tinv/v1/resume").status_code == 422
    answer = routes.post("/tinv/v1/resume", params=go_on, json={"steps": 7})
    assert answer.status_code == 202
    found = over(routes, answer.json()["id"])
    assert (found["status"], found["steps"], [row["step"] for row in found["curve"]]) == (
        "finished",
        7,
        list(range(1, 8)),
    )


def test_a_job_that_was_stopped_goes_on(client: Client, jobs: JobQueue, values: dict[str, Any]) -> None:
    """By its id, as another job of the same run; one that has finished, or never began, leaves nothing to resume."""
    routes = client()
    job = routes.post("/tinv/v1/train", json={**values, "steps": 100_000}).json()["id"]
    waits = routes.post("/tinv/v1/train", json={**values, "name": "zibbo-2"}).json()["id"]
    until(lambda: jobs.get(job).steps > 1)
    for one in (waits, job):
        assert routes.get("/tinv/v1/status", params={"job": one}).json()["job"]["can_resume"] is False
        routes.post("/tinv/v1/stop", params={"job": one})
    assert [over(routes, one)["can_resume"] for one in (job, waits)] == [True, False]
    stopped = jobs.get(job).steps
    answer = routes.post("/tinv/v1/resume", params={"job": job}, json={"steps": stopped + 3})
    assert answer.status_code == 202
    found = over(routes, answer.json()["id"])
    assert (found["status"], found["steps"], found["can_resume"]) == ("finished", stopped + 3, False)
    assert jobs.get(answer.json()["id"]).folder == jobs.get(job).folder
    assert routes.post("/tinv/v1/resume", params={"job": waits}).status_code == 422


def test_an_interrupted_run_is_offered(
    client: Client, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Any
) -> None:
    """The program ended in the midst of it: the next one says so to whoever looks, without paths."""
    monkeypatch.chdir(tmp_path)
    routes = client()
    job = routes.post("/tinv/v1/train", json={**values, "output": "textual_inversion"}).json()["id"]
    over(routes, job)
    (folder,) = (tmp_path / "textual_inversion").glob("2*/*")
    status = RunFolder(folder)
    status.write_status(Status("training", 3, total=5))  # as a kill leaves it; the state knows better
    after = FastAPI()
    api.add_routes(after, JobQueue(lambda: host), True, None, None)
    (offer,) = TestClient(after).get("/tinv/v1/status").json()["interrupted"]
    assert offer == {"id": f"{folder.parent.name}/{folder.name}", "name": "zibbo", "steps": 5, "total": 5}

    client_after, run = TestClient(after), {"run": offer["id"]}
    unknown = client_after.post("/tinv/v1/runs/leave", params={"run": "../../x"}, json={})
    assert "textual_inversion" in unknown.json()["detail"]["problems"][0]
    at_work = client_after.post("/tinv/v1/train", json={**values, "name": "zibbo-2", "steps": 100_000}).json()["id"]
    assert client_after.post("/tinv/v1/runs/leave", params={**run, "undo": True}).status_code == 422
    assert client_after.post("/tinv/v1/runs/leave", params=run, json={}).json() == []
    assert (status.status().status, status.can_resume) == ("stopped", True)
    assert client_after.post("/tinv/v1/runs/leave", params=run, json={}).status_code == 422
    assert client_after.get("/tinv/v1/status").json()["interrupted"] == []
    assert client_after.post("/tinv/v1/runs/leave", params={**run, "undo": True}, json={}).json() == [offer]
    client_after.post("/tinv/v1/stop", params={"job": at_work}, json={})
    over(client_after, at_work)


def test_runs_outside_of_the_open_folders_are_not_told(client: Client, values: dict[str, Any], tmp_path: Path) -> None:
    """Neither listed nor gone on with."""
    routes = client(allowed_paths=allow_only([tmp_path / "open"]))
    assert routes.get("/tinv/v1/runs", params={"output": values["output"]}).status_code == 422
    answer = routes.post("/tinv/v1/resume", params={"output": values["output"], "run": "2026-01-01/a-1"})
    assert answer.json()["detail"]["ids"][0] == "server.path_not_allowed"


def test_a_model_that_cannot_be_trained_is_told(client: Client, values: dict[str, Any], jobs: JobQueue) -> None:
    """What the host says is an answer, not a breakdown of the server."""

    def none() -> Any:
        raise HostError("The loaded model is Stable Diffusion 3; it cannot be trained.")

    jobs._host = none
    for route in ("check", "train"):
        answer = client().post(f"/tinv/v1/{route}", json=values)
        assert answer.status_code == 422
        assert answer.json()["detail"]["problems"] == ["The loaded model is Stable Diffusion 3; it cannot be trained."]
