"""The folder of a run: names that never collide, files that are whole, a curve that a crash cannot spoil."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.messages import refused
from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.messages import message, translated
from tinv_ext.core.settings import TrainConfig
from tinv_ext.run import run_folder
from tinv_ext.run.curve import open_curve, read_curve
from tinv_ext.run.status import Status

CONFIG = TrainConfig(name="画风-2", images="some where", steps=7)


@pytest.fixture
def folder(tmp_path: Path) -> run_folder.RunFolder:
    """A fresh run."""
    return run_folder.create_run(CONFIG.but(output=str(tmp_path / "log")), {"model": {"source": "toy"}})


def test_a_run_has_a_folder_of_its_own(folder: run_folder.RunFolder, tmp_path: Path) -> None:
    """<log>/<date>/<name>-<time>, with its settings and facts; two runs in one second get two."""
    config = folder.config()
    place = folder.path.relative_to(tmp_path / "log").as_posix()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d/画风-2-\d\d-\d\d-\d\d", place)
    assert config == CONFIG.but(output=str(tmp_path / "log"))
    assert folder.facts() == {"model": {"source": "toy"}}
    assert len({run_folder.create_run(config, {}).path for _ in range(4)} | {folder.path}) == 5


def test_a_pasted_log_directory_is_the_folder_that_is_meant(tmp_path: Path) -> None:
    """Quotes and blanks around it are not part of it."""
    made = run_folder.create_run(CONFIG.but(output=f' "{tmp_path / "a b"}" '), {})
    assert made.path.parents[1] == tmp_path / "a b"


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    """No config.json, one that is no JSON, one that holds something else."""
    for data in (None, b"{", b"[]", b"{}", b'{"settings": 1}', b"\xff"):
        if data is not None:
            (tmp_path / "config.json").write_bytes(data)
        with refused("run.not_a_run", path=tmp_path):
            run_folder.RunFolder(tmp_path).config()


def test_settings_of_a_run_that_are_wrong_are_told(folder: run_folder.RunFolder) -> None:
    """With the sentences of the settings."""
    (folder.path / "config.json").write_text(json.dumps({"settings": {"steps": 0, "stepps": 1}}))
    with pytest.raises(InputError) as caught:
        folder.config()
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("preset", ["fast", "classic"])
def test_a_setting_younger_than_a_run_is_what_held_before_it(folder: run_folder.RunFolder, preset: str) -> None:
    """Whatever the preset says of it today: the run goes on as it began."""
    file = folder.path / "config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    del content["settings"]["ema_inv_gamma"], content["settings"]["downweight_odd_images"]
    content["settings"] |= {"preset": preset, "ema_decay": 0.95}
    file.write_text(json.dumps(content), encoding="utf-8")
    config = folder.config()
    assert (config.preset, config.ema_decay, config.ema_inv_gamma) == (preset, 0.95, 9.0)
    assert not config.downweight_odd_images


@pytest.mark.parametrize("status", [Status("training", 3), Status("failed", 3, "/a/画.pt", "a\nreason")])
def test_the_status_is_what_was_last_written(folder: run_folder.RunFolder, status: Status) -> None:
    """Whole, and legible for people."""
    folder.write_status(Status("training", 0))
    folder.write_status(status)
    assert folder.status() == status
    assert '"steps": 3' in (folder.path / "status.json").read_text("utf-8")


def test_the_reason_can_be_told_in_another_language_later(folder: run_folder.RunFolder) -> None:
    """Also one within another; for people the file has it in English."""
    saved = message("run.stopped_early", "It was stopped before the first step.")
    reason = message("run.reason_and_saved", "{reason} {saved}", reason="Why.", saved=saved)
    folder.write_status(Status("stopped", 0, reason=reason))
    found = folder.status().reason
    assert found == "Why. It was stopped before the first step."
    assert translated(found, "zh_CN") == translated(reason, "zh_CN") != reason


@pytest.mark.parametrize(
    "said",
    [
        3,
        {"id": "a.b", "template": "another", "values": {}},
        {"id": "a.b", "template": "{x", "values": {}},
        {"id": "a.b", "template": "{x}", "values": {}},
        {"id": "a.b", "template": "{x:>100000000000}", "values": {"x": 1}},
        {"id": "a.b", "template": "{x:{y}}", "values": {"x": 1, "y": 100000000000}},
        {"id": "a.b", "template": "{x}", "values": {"x": {"id": "a", "template": "{y:9999999}", "values": {"y": 1}}}},
        {"id": "a.b", "template": 3, "values": 3},
    ],
)
def test_a_reason_that_does_not_say_what_it_should_is_its_text(folder: run_folder.RunFolder, said: Any) -> None:
    """A file may be spoilt, or from anybody."""
    (folder.path / "status.json").write_text(json.dumps({**asdict(Status("failed", 3, reason="why")), "said": said}))
    assert folder.status().reason == "why"
    assert type(folder.status().reason) is str


def test_a_status_that_cannot_be_read_is_told(folder: run_folder.RunFolder) -> None:
    """Missing or spoilt."""
    for data in (None, b"{", b'{"x": 1}', b"3"):
        if data is not None:
            (folder.path / "status.json").write_bytes(data)
        with refused("run.no_status", FormatError):
            folder.status()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("status.json", "[]"),
        ("status.json", "{}"),
        ("status.json", '{"status": "training", "steps": 3, "x": 1}'),
        ("config.json", "[]"),
        ("config.json", '{"settings": 3}'),
        ("config.json", '{"version": 1e400, "settings": {"name": "x"}}'),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_words_for_people(
    folder: run_folder.RunFolder, file: str, content: str
) -> None:
    """None of Python's about its values."""
    (folder.path / file).write_text(content)
    read = folder.status if file == "status.json" else folder.config
    with pytest.raises((FormatError, InputError)) as told:
        read()
    reason = told.value.problems[0].values["reason"]  # type: ignore[attr-defined]
    assert reason.startswith("it")
    assert not any(word in reason for word in ("object", "argument", "Status", "int()"))


def test_files_are_named_by_their_step(folder: run_folder.RunFolder) -> None:
    """As the WebUI's trainer places them, the number after the name; further previews are counted."""
    places = [
        folder.snapshot("a", 5),
        folder.preview("a", 5, 0),
        folder.preview("a", 5, 1),
        folder.image_embedding("a", 5, 1),
    ]
    assert [path.relative_to(folder.path).as_posix() for path in places] == [
        "embeddings/a-5.pt",
        "images/a-5.png",
        "images/a-5-2.png",
        "image_embeddings/a-5-2.png",
    ]


def test_each_backup_has_a_name_of_its_own(folder: run_folder.RunFolder) -> None:
    """A run that replaces three times keeps all three."""
    names = []
    for _ in range(3):
        place = folder.backup(Path("/x/a.pt"))
        place.write_bytes(b"")
        names.append(place.name)
    assert names == ["a.pt", "a (2).pt", "a (3).pt"]


def curve(folder: run_folder.RunFolder, step: int, *numbers: int) -> list[str]:
    """Go on with the curve at `step`, add rows, and tell the steps in it."""
    with open_curve(folder.curve, step) as rows:
        for number in numbers:
            rows.add(number, 0, 0.123456789123, 1e-05, 2.0, 3.0, 4.0, "", "")
    return [row["step"] for row in read_curve(folder.curve)]


def test_the_curve_goes_on_where_the_state_stands(folder: run_folder.RunFolder) -> None:
    """Rows of later steps, from before a crash, are cut off; earlier ones stay byte for byte."""
    assert curve(folder, 0, 0, 1, 2, 3, 4) == ["0", "1", "2", "3", "4"]
    before = folder.curve.read_bytes()
    assert curve(folder, 2) == ["0", "1", "2"]
    assert before.startswith(folder.curve.read_bytes())
    assert curve(folder, 2, 3) == ["0", "1", "2", "3"]
    assert folder.curve.read_text().splitlines()[1] == "0,0,0.123456789,1e-05,2,3,4,,"


def test_a_row_that_was_cut_short_is_left_out(folder: run_folder.RunFolder) -> None:
    """Power went off while it was written."""
    curve(folder, 0, 0, 1)
    with folder.curve.open("a") as file:
        file.write("2,0,0.1")
    assert [row["step"] for row in read_curve(folder.curve)] == ["0", "1"]
    assert curve(folder, 1, 2) == ["0", "1", "2"]


def test_rows_below_a_damaged_line_of_names_stay(folder: run_folder.RunFolder) -> None:
    """Also those of a run from before there was the last column."""
    for rest in ("", ","):
        folder.curve.write_text(f"st\0p,epoch\n1,0,0.5,1e-05,2,3,4,0.25{rest}\n2,0,0.5,1e-05,2,3,4,{rest}\n")
        assert [(row["step"], row["evaluation"]) for row in read_curve(folder.curve)] == [("1", "0.25"), ("2", "")]
        assert curve(folder, 2, 3) == ["1", "2", "3"]


def test_rows_are_on_disk_when_they_are_added(folder: run_folder.RunFolder) -> None:
    """Somebody who looks at the file while the run goes on sees all of it."""
    with open_curve(folder.curve, 0) as rows:
        rows.add(0, 0, 0.5, 1.0, 1.0, 1.0, 1.0, "", "")
        assert len(read_curve(folder.curve)) == 1


def test_notes_have_their_time(folder: run_folder.RunFolder) -> None:
    """One line each, in UTF-8."""
    folder.add_to_log("begins")
    folder.add_to_log("画")
    lines = folder.log.read_text("utf-8").splitlines()
    assert [line[20:] for line in lines] == ["begins", "画"]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", lines[0])


@pytest.mark.parametrize("text", ["plain, with: all\nsorts", "画风 – ü"])
def test_texts_of_a_picture_come_back(tmp_path: Path, text: str) -> None:
    """Whatever the letters."""
    run_folder.write_image(Image.new("RGB", (8, 8)), tmp_path / "a.png", {"parameters": text})
    assert Image.open(tmp_path / "a.png").text["parameters"] == text
