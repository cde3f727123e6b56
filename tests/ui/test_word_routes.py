"""Several words in the routes: what is told of each, while settings are typed and when they are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tinv_ext.core.settings.word_own import OWN
from tinv_ext.server.job_queue import JobQueue

Client = Callable[..., TestClient]


def test_the_outlook_tells_what_is_wrong_with_each_word(client: Client, values: dict[str, Any]) -> None:
    """A verdict on each name and the problems of each, in the order of the tables, and not among those of the run."""
    words = [
        {"init_text": "dog"},
        {"name": "ZIBBO"},
        {"name": "quixxly", "images": "nowhere", "num_vectors": 1000},
        {"name": "cat"},
        {"name": "blorfin", "images": values["images"]},
    ]
    answer = client().post("/tinv/v1/outlook", json={**values, "words": words}).json()
    told = [(one["name"]["state"], len(one["problems"])) for one in answer["words"]]
    assert told == [("empty", 0), ("bad", 0), ("free", 2), ("bad", 0), ("free", 0)]
    assert "1000" in answer["words"][2]["problems"][0]
    assert answer["words"][2]["problems"][1].startswith("The image folder")
    assert answer["problems"] == {}
    broken = client().post("/tinv/v1/outlook", json={**values, "words": "[[words"}).json()
    assert (broken["words"], list(broken["problems"])) == ([], ["words"])
    assert client().post("/tinv/v1/outlook", json=values).json()["words"] == []


def test_a_refusal_tells_what_is_wrong_with_each_word(client: Client, values: dict[str, Any]) -> None:
    """By Check and by Train, in the language asked for, beside the list of all problems."""
    words = [{"name": "quixxly"}, {"name": "blorfin", "images": values["images"]}]
    for route in ("check", "train"):
        refusal = client().post(f"/tinv/v1/{route}?language=zh_CN", json={**values, "words": words})
        assert refusal.status_code == 422
        detail = refusal.json()["detail"]
        assert detail["words"] == [detail["problems"], []]
        assert "quixxly" in detail["problems"][0]
        assert "提示词" in detail["problems"][0]
    alone = client().post("/tinv/v1/check", json={**values, "images": "nowhere"}).json()["detail"]
    assert "words" not in alone


def test_a_word_can_have_a_template_of_ones_own(
    client: Client,
    values: dict[str, Any],
    jobs: JobQueue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its name, as the run can; Check names all words."""
    monkeypatch.chdir(tmp_path)  # where the templates are
    jobs.templates.save("etching", "an etching of [name]")
    folder = Path(values["images"])
    words = [{"name": "quixxly", "images": str(folder), "template": "etching", "repeats": 2}]
    answer = client().post("/tinv/v1/check", json={**values, "words": words})
    assert answer.status_code == 200, answer.text
    assert answer.json()["words"] == ["zibbo", "quixxly"]
    assert "an etching of quixxly" in answer.json()["prompts"]


def test_the_form_has_what_only_a_word_has(client: Client) -> None:
    """With labels and help in the language asked for."""
    form = client().get("/tinv/v1/settings?language=zh_CN").json()
    assert [one["name"] for one in form["of_a_word"]] == list(OWN)
    assert all(one["help"] and not one["help"].isascii() for one in form["of_a_word"])
