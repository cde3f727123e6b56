"""In which language the routes answer, and what of an answer is the same in every language."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.ui.test_api import over
from tinv_ext.core.messages import templates, translated
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.language import accepted_language, page_labels
from tinv_ext.server.live_texts import LABELS, STATUS_WORDS, taken_on, time_left
from tinv_ext.server.page_texts import page_texts
from tinv_ext.server.queued_run import Job

Client = Callable[..., TestClient]
CHINESE = re.compile("[\u4e00-\u9fff]")
ZH = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh_CN"),
        ("de-DE, zh;q=0.5", "zh_CN"),
        ("en-US,en;q=0.9,zh-CN;q=0.8", "en"),
        ("en;q=0.3, zh-Hant;q=0.9", "zh_CN"),
        ("zh;q=0, en", "en"),
        ("zh;q=none", "en"),
        ("*", "en"),
        ("", "en"),
        (None, "en"),
        (",;q=1,;;=", "en"),
    ],
)
def test_the_preferred_language_that_there_is(header: str | None, language: str) -> None:
    """By weight, then by order; English where nothing else fits."""
    assert accepted_language(header) == language


def test_the_status_is_told_in_the_language_asked_for(client: Client, values: dict[str, Any]) -> None:
    """Texts in it; words and numbers that programs read are the same."""
    routes = client()
    assert routes.get("/tinv/v1/status", headers=ZH).json()["texts"]["no_run"] == "还没有训练。"
    over(routes, routes.post("/tinv/v1/train", json=values).json()["id"])
    english = routes.get("/tinv/v1/status").json()
    for chinese in (
        routes.get("/tinv/v1/status", headers=ZH).json(),
        routes.get("/tinv/v1/status", params={"language": "zh-Hans (Stable)"}).json(),
    ):
        assert (chinese["language"], chinese["texts"]["title"]) == ("zh_CN", "zibbo：已完成")
        assert chinese["texts"]["figures"][0] == "第 5 步，共 5 步"
        assert all(CHINESE.search(text) for text in chinese["texts"]["figures"])
        same = ("id", "status", "steps", "total", "curve", "prompts", "file")
        assert {key: chinese["job"][key] for key in same} == {key: english["job"][key] for key in same}
    assert english["texts"]["title"] == "zibbo: finished"
    again = routes.get("/tinv/v1/status", headers=ZH, params={"language": "en"}).json()
    assert again["texts"] == english["texts"]


def test_the_figures_do_not_depend_on_what_the_page_has_already(client: Client, values: dict[str, Any]) -> None:
    """The curve is sent in parts; evaluation and length are in every answer."""
    routes = client()
    job = routes.post("/tinv/v1/train", json={**values, "evaluate_every": 1, "result": "last"}).json()["id"]
    over(routes, job)
    whole, rest = (routes.get("/tinv/v1/status", params={"since": since}).json() for since in (0, 1000))
    assert rest["job"]["curve"] == []
    assert rest["texts"]["figures"] == whole["texts"]["figures"]
    assert [re.sub(r"[\d.]+", "N", text) for text in rest["texts"]["figures"]] == [
        "step N of N",
        "loss N",
        "evaluation N",
        "length N, moved N",
        "zibboNpt holds step N",
    ]


def test_problems_have_ids_beside_their_sentences(client: Client) -> None:
    """A program can tell them apart in every language."""
    routes = client()
    english = routes.post("/tinv/v1/resume").json()["detail"]
    chinese = routes.post("/tinv/v1/resume", headers=ZH).json()["detail"]
    assert english["ids"] == chinese["ids"] == ["api.job_or_run"]
    assert chinese["problems"] == [templates("zh_CN")["api.job_or_run"]]
    assert not CHINESE.search(english["problems"][0])


def test_every_refusal_of_the_routes_is_translated(client: Client) -> None:
    """Of bodies, of previews, of credentials."""
    routes, json = client(), {**ZH, "Content-Type": "application/json"}
    for body in (b"[1]", b"{"):
        assert CHINESE.search(routes.post("/tinv/v1/train", content=body, headers=json).json()["detail"]["problems"][0])
    assert CHINESE.search(routes.post("/tinv/v1/train", content=b"[" * 100_000, headers=json).json()["detail"])
    for headers in (ZH, {**json, "Origin": "http://evil.test"}):
        answer = routes.post("/tinv/v1/train", content=b"{}", headers=headers)
        assert CHINESE.search(answer.json()["detail"]["problems"][0])
    guarded = client(credentials={"ann": "secret"})
    assert CHINESE.search(guarded.get("/tinv/v1/runs", headers=ZH).json()["detail"])


def test_labels_are_served_for_a_page_that_nobody_translates(client: Client) -> None:
    """The WebUI's own file, and nothing in English; the schema has them, too."""
    routes = client(changing=False)
    assert routes.get("/tinv/v1/labels").json() == {}
    labels = routes.get("/tinv/v1/labels", headers=ZH).json()
    assert labels == page_labels("zh_CN")
    assert labels["Embeddings"] == "嵌入"
    schema = routes.get("/tinv/v1/schema", headers=ZH).json()
    assert all(CHINESE.search(about["label"]) and CHINESE.search(about["help"]) for about in schema.values())


def test_every_word_of_the_live_part_is_translated() -> None:
    """Statuses and labels; the script puts in the step."""
    for text in (*STATUS_WORDS.values(), *LABELS.values()):
        assert CHINESE.search(translated(text, "zh_CN")), text
    assert "{step}" in translated(LABELS["at_step"], "zh_CN")


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0.4, "0 s left", "剩余 0 秒"),
        (59.6, "1 min 0 s left", "剩余 1 分 0 秒"),
        (3600 + 125, "1 h 2 min left", "剩余 1 小时 2 分钟"),
    ],
)
def test_the_time_left(seconds: float, english: str, chinese: str) -> None:
    """Two units at most."""
    assert (time_left(seconds), translated(time_left(seconds), "zh_CN")) == (english, chinese)


def test_a_run_that_waits_is_not_said_to_have_started(jobs: JobQueue, values: dict[str, Any], tmp_path: Path) -> None:
    """The page names the run that it waits for."""
    first = jobs.submit({**values, "steps": 100_000})
    assert taken_on(first, jobs).id == "ui.training_started"
    while first.status == "queued":
        jobs.wait(first, 0.05)
    second: Job = jobs.submit({**values, "name": "wibble"})
    assert taken_on(second, jobs).values == {"name": "wibble", "current": "zibbo"}


def test_a_label_named_in_a_sentence_is_on_the_page() -> None:
    """What stands in quotes in the page's Chinese sentences, if it is no value."""
    sentences = [text for key, text in templates("zh_CN").items() if key.startswith("ui.")]
    named = {label for text in sentences for label in re.findall("“([^“”{}]+)”", text)}
    assert {"继续", "训练记录"} <= named
    assert named - {*page_labels("zh_CN").values(), *page_texts("zh_CN").values()} == set()
