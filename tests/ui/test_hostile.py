"""Hostile names and paths by the routes, which the page asks, too: refused by the validator of the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from fastapi.testclient import TestClient

from tests.hostile.hostile_texts import NAMES, PATHS
from tinv_ext.core.names import name_problems
from tinv_ext.server.allowed_paths import allow_only
from tinv_ext.server.job_queue import JobQueue

REFUSED = 422


@pytest.mark.parametrize("kind", NAMES)
def test_names(
    client: Callable[..., TestClient],
    jobs: JobQueue,
    values: dict[str, Any],
    tmp_path: Path,
    kind: str,
) -> None:
    """422 and the sentences, also while the name is typed; no job, no file."""
    images = Path(values["images"]).rename(tmp_path / "pictures")
    bad, sentences = {**values, "images": str(images), "name": NAMES[kind]}, name_problems(NAMES[kind])
    before = sorted(tmp_path.rglob("*"))
    for route in ("train", "check"):
        told = client().post(f"/tinv/v1/{route}", json=bad)
        assert told.status_code == REFUSED
        if kind != "half a pair":  # which no answer can hold as it is
            assert sentences[0] in str(told.json()["detail"]["problems"][0])
    verdict = client().post("/tinv/v1/outlook", json=bad).json()["name"]
    assert verdict["state"] == ("bad" if NAMES[kind].strip() else "empty")
    assert jobs.all() == []
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", PATHS)
def test_paths(
    client: Callable[..., TestClient],
    jobs: JobQueue,
    values: dict[str, Any],
    tmp_path: Path,
    kind: str,
) -> None:
    """A stranger gets nowhere by any setting that names a place, nor by the log directory of the runs' list."""
    (tmp_path / "open").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "open" / "link").symlink_to(tmp_path / "outside")
    given = PATHS[kind].replace("{open}", str(tmp_path / "open")).replace("{here}", str(tmp_path))
    routes = client(allowed_paths=allow_only([tmp_path / "open"]))
    inside = {**values, "images": str(tmp_path / "open"), "output": str(tmp_path / "open")}
    before = sorted(tmp_path.rglob("*"))
    for place in ("images", "init_embedding", "template", "output"):
        for route in ("train", "images"):
            told = routes.post(f"/tinv/v1/{route}", json={**inside, place: given})
            assert told.status_code == REFUSED
            assert f"({place}) is outside" in str(told.json())
        assert routes.post("/tinv/v1/outlook", json={**inside, place: given}).json()["images"] is None
    if kind != "half a pair":  # which no address can hold
        assert routes.get("/tinv/v1/runs", params={"output": given}).status_code == REFUSED
        assert routes.get("/tinv/v1/folders", params={"path": given}).status_code == REFUSED
        assert routes.post("/tinv/v1/resume", params={"output": given, "run": "x"}, json={}).status_code == REFUSED
        sent = routes.put("/tinv/v1/images/upload", params={"folder": given, "name": "x.png"}, content=b"x")
        assert sent.status_code == REFUSED
    assert jobs.all() == []
    assert sorted(tmp_path.rglob("*")) == before
