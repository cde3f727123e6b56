"""Hostile names and paths by the routes and by the page's own functions: refused by the validator of the engine."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio")

from fastapi.testclient import TestClient

from tests.hostile.hostile_texts import NAMES, PATHS
from tinv_ext.core.names import name_problems
from tinv_ext.server.allowed_paths import allow_only
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.ui import training_tab
from tinv_ext.ui.context import PageContext

REFUSED = 422


@pytest.fixture
def press(jobs: JobQueue, tmp_path: Path) -> Callable[..., str]:
    """What the page answers when a stranger presses Train or Check with these settings."""
    (tmp_path / "open").mkdir()
    blocks = training_tab.build(jobs, PageContext(lambda request: allow_only([tmp_path / "open"])))
    fns = blocks.fns.values() if isinstance(blocks.fns, dict) else blocks.fns
    found = {fn.fn.__name__: fn for fn in fns if fn.fn and fn.fn.__name__ in ("train", "check")}
    controls = {block.elem_id: block for block in blocks.blocks.values() if getattr(block, "elem_id", None)}

    def pressed(which: str, values: dict[str, Any]) -> str:
        given = {controls[f"tinv_{name}"]: value for name, value in values.items()}
        answer: str = found[which].fn(given, SimpleNamespace(client=None, headers={}))
        return answer

    return pressed


@pytest.mark.parametrize("kind", NAMES)
def test_names(
    client: Callable[..., TestClient],
    press: Callable[..., str],
    jobs: JobQueue,
    values: dict[str, Any],
    tmp_path: Path,
    kind: str,
) -> None:
    """422 and the sentences; in the page as text, not as markup; no job, no file."""
    images = Path(values["images"]).rename(tmp_path / "open" / "pictures")
    good = {**values, "images": str(images), "output": str(tmp_path / "open")}
    assert "tinv-problems" not in press("check", good)
    bad, sentences = {**good, "name": NAMES[kind]}, name_problems(NAMES[kind])
    before = sorted(tmp_path.rglob("*"))
    for route in ("train", "check"):
        told = client().post(f"/tinv/v1/{route}", json=bad)
        assert told.status_code == REFUSED
        if kind != "half a pair":  # which no answer can hold as it is
            assert sentences[0] in str(told.json()["detail"]["problems"][0])
        shown = press(route, bad)
        assert "tinv-problems" in shown
        assert escape(sentences[0][-30:]) in shown
        assert "<img src=x" not in shown
    assert jobs.all() == []
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", PATHS)
def test_paths(
    client: Callable[..., TestClient],
    press: Callable[..., str],
    jobs: JobQueue,
    values: dict[str, Any],
    tmp_path: Path,
    kind: str,
) -> None:
    """A stranger gets nowhere by any setting that names a place, nor by the log directory of the runs' list."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "open" / "link").symlink_to(tmp_path / "outside")
    given = PATHS[kind].replace("{open}", str(tmp_path / "open")).replace("{here}", str(tmp_path))
    routes = client(allowed_paths=allow_only([tmp_path / "open"]))
    inside = {**values, "images": str(tmp_path / "open"), "output": str(tmp_path / "open")}
    before = sorted(tmp_path.rglob("*"))
    for place in ("images", "init_embedding", "template", "output"):
        told = routes.post("/tinv/v1/train", json={**inside, place: given})
        assert told.status_code == REFUSED
        assert f"({place}) is outside" in str(told.json())
        assert f"({place}) is outside" in press("train", {**inside, place: given})
    if kind != "half a pair":  # which no address can hold
        assert routes.get("/tinv/v1/runs", params={"output": given}).status_code == REFUSED
        assert routes.post("/tinv/v1/resume", params={"output": given, "run": "x"}, json={}).status_code == REFUSED
    assert jobs.all() == []
    assert sorted(tmp_path.rglob("*")) == before
