"""Settings files as the page takes them: of this program and of other trainers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.messages import ids, refused
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.config_file import to_file
from tinv_ext.server.settings_files import FOLDER, settings_sent

KOHYA = """
pretrained_model_name_or_path = "m.safetensors"
token_string = "mycat"
init_word = "cat"
xformers = true
max_train_steps = 300
[general]
shuffle_caption = true
[[datasets]]
resolution = 512
  [[datasets.subsets]]
  image_dir = "cats"
  num_repeats = 2
"""
CONCEPTS = [{"path": "a", "name": "a"}, {"path": "b", "name": "b"}]


def as_json(values: Any) -> bytes:
    """As a file has it."""
    return json.dumps(values).encode()


def test_a_run_is_taken_by_what_was_said(tmp_path: Path) -> None:
    """Its config.json has every setting; the form gets those that were chosen."""
    config = TrainConfig.from_dict({"name": "zibbo", "images": "cats", "preset": "kohya", "steps": 9})
    settings, notices = settings_sent(as_json(to_file(config, {})), "config.json", tmp_path)
    assert settings == {"preset": "kohya", "name": "zibbo", "images": "cats", "steps": 9}
    assert notices == []


def test_a_file_that_is_a_dataset_config_is_kept_for_the_run(tmp_path: Path) -> None:
    """Under its name, once; another of that name beside it. What the page has no use for is told."""
    settings, notices = settings_sent(KOHYA.encode(), "C:\\x\\cats.toml", tmp_path)
    kept = Path(settings["dataset_config"])
    assert kept.read_bytes() == KOHYA.encode()
    assert kept.parent == tmp_path / FOLDER
    assert settings_sent(KOHYA.encode(), "C:\\x\\cats.toml", tmp_path)[0] == settings
    other = settings_sent(KOHYA.replace("300", "400").encode(), "C:\\x\\cats.toml", tmp_path)[0]
    assert Path(other["dataset_config"]).name == f"{kept.stem} (2).toml"
    assert len(list(kept.parent.iterdir())) == 2
    assert (settings["name"], settings["init_text"], settings["steps"]) == ("mycat", "cat", 300)
    assert "peers.not_used" in ids(notices)
    (model,) = [one for one in notices if one.id == "server.for_the_command_line"]
    assert model.values["names"] == ["model"]


def test_concepts_of_onetrainer_are_the_images(tmp_path: Path) -> None:
    """Its training_concepts/concepts.json."""
    settings = settings_sent(as_json(CONCEPTS), "concepts.json", tmp_path)[0]
    assert json.loads(Path(settings["dataset_config"]).read_bytes()) == CONCEPTS


def test_nothing_is_kept_for_a_preset(tmp_path: Path) -> None:
    """It is of no run."""
    onetrainers = {"base_model_name": "m", "training_method": "EMBEDDING", "concepts": CONCEPTS}
    settings = settings_sent(as_json(onetrainers), "config.json", None)[0]
    assert settings["dataset_config"] == "config.json"
    assert list(tmp_path.iterdir()) == []
    kept = settings_sent(as_json(onetrainers), "config.json", tmp_path)[0]["dataset_config"]
    assert json.loads(Path(kept).read_bytes()) == onetrainers


@pytest.mark.parametrize(
    ("data", "name", "problem"),
    [
        (b"steps = many", "a.toml", "settings.file_invalid"),
        (b"[1, 2]", "a.json", "settings.file_no_names"),
        (b"\x00\x01\x02\xff", "a", "settings.file_invalid"),
        (b'{"steps": "many"}', "a.json", "settings.wrong_type"),
        (b"", "a.toml", "server.file_without_settings"),
        (b'model = "m"', "a.toml", "server.file_without_settings"),
        (b'{"stepps": 3}', "a.json", "settings.unknown_near"),
        (b'{"model_list": "custom", "max_resolution": "512,512", "lr_warmup": 0}', "a.json", "settings.file_refused"),
    ],
)
def test_what_cannot_be_used_is_told(data: bytes, name: str, problem: str, tmp_path: Path) -> None:
    """In sentences, and nothing is kept."""
    with refused(problem):
        settings_sent(data, name, tmp_path)
    assert list(tmp_path.iterdir()) == []
