"""Settings files as people have them: of every encoding, and of the WebUI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.messages import ids, refused
from tinv_ext.core.messages import Message
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.settings_file import read_settings_file

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]
WEBUI: dict[str, Any] = {
    "datetime": "2023-01-02 03:04:05",
    "model_name": "some-model",
    "num_vectors_per_token": 4,
    "embedding_name": "zibbo",
    "learn_rate": "0.005:100, 0.001",
    "batch_size": 2,
    "gradient_step": 3,
    "data_root": "clover",
    "log_directory": "textual_inversion/2023-01-02/zibbo",
    "training_width": 64,
    "training_height": 128,
    "steps": 500,
    "clip_grad_mode": "value",
    "clip_grad_value": "0.2",
    "latent_sampling_method": "once",
    "create_image_every": 100,
    "save_embedding_every": 50,
    "save_image_with_stored_embedding": True,
    "preview_prompt": "",
    "preview_seed": -1.0,
    "preview_sampler_index": 0,
    "template_file": r"C:\\webui\\textual_inversion_templates\\style_filewords.txt",
    "initial_step": 0,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_every_encoding_that_editors_write_is_read(tmp_path: Path, suffix: str, encoding: str) -> None:
    """With or without a BOM, with the line ends of Windows."""
    text = 'name = "猫"\r\nsteps = 5\r\n' if suffix == "toml" else '{"name": "猫",\r\n "steps": 5}'
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(text.encode(encoding))
    assert read_settings_file(path) == {"name": "猫", "steps": 5}


def test_json_is_read_whatever_the_file_is_called(tmp_path: Path) -> None:
    """No TOML begins so."""
    path = tmp_path / "settings.txt"
    path.write_text('\n {"steps": 5}', "utf-8")
    assert read_settings_file(path) == {"steps": 5}


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    """It is not guessed."""
    (tmp_path / "a.toml").write_bytes('name = "名字"'.encode("gbk"))
    with refused("settings.file_not_utf8", byte=8):
        read_settings_file(tmp_path / "a.toml")


@pytest.mark.parametrize(
    "name, text, problem",
    [
        ("run.sh", "export MODEL=toy\naccelerate launch textual_inversion.py --seed 1", "settings.file_is_script"),
        ("run.bat", "set MODEL=toy\r\npython train_textual_inversion.py --seed=1", "settings.file_is_script"),
        ("run", "#!/bin/sh\ntinv train", "settings.file_is_script"),
        ("a.yaml", "name: zibbo\nsteps: 5\n", "settings.file_is_yaml"),
        ("a.toml", 'images = "C:\\Users\\me"', "settings.file_backslash"),
        ("a.toml", 'images = "C:\\My images"', "settings.file_backslash"),
        ("a.json", '{"images": "C:\\Users\\me"}', "settings.file_backslash"),
        ("a.json", '{"images": "C:\\My images"}', "settings.file_backslash"),
        ("a.toml", "steps = many", "settings.file_invalid"),
    ],
)
def test_what_to_do_with_a_file_of_another_kind_is_told(tmp_path: Path, name: str, text: str, problem: str) -> None:
    """Where it can be known."""
    (tmp_path / name).write_text(text, "utf-8")
    with refused(problem):
        read_settings_file(tmp_path / name)


def test_the_settings_of_the_webui_are_taken(tmp_path: Path) -> None:
    """By their meaning; what has none here is named once."""
    path = tmp_path / "settings-2023-01-02-03-04-05.json"
    path.write_text(json.dumps(WEBUI))
    told: list[Message] = []
    config = TrainConfig.from_dict(read_settings_file(path, told.append))
    assert (config.name, config.num_vectors, config.images, config.steps) == ("zibbo", 4, "clover", 500)
    assert (config.width, config.height, config.gradient_accumulation_steps) == (64, 128, 3)
    assert (config.clip_mode, config.clip_value, config.latent_sampling) == ("value", "0.2", "once")
    assert (config.preview_every, config.save_every, config.save_image_embedding) == (100, 50, True)
    assert config.template == "style_filewords.txt"
    assert config.preview_seed >= 0
    assert ids(told) == ["settings.webui_left_out"]
    left_out = ["datetime", "model_name", "log_directory", "preview_sampler_index", "initial_step"]
    assert told[0].values["names"] == left_out


def test_a_template_of_ones_own_keeps_its_path(tmp_path: Path) -> None:
    """Only the templates that come with the WebUI are here by their names."""
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({**WEBUI, "template_file": "/x/mine.txt", "varsize": True}))
    values = read_settings_file(path)
    assert values["template_file"] == "/x/mine.txt"
    assert values["resize_mode"] == "buckets"


@pytest.mark.parametrize("version", ["1e400", "NaN", "null", '"x"', "[]"])
def test_a_version_that_is_no_number_is_told(tmp_path: Path, version: str) -> None:
    """The JSON is valid."""
    path = tmp_path / "config.json"
    path.write_text(f'{{"version": {version}, "settings": {{"name": "zibbo"}}}}')
    with refused("settings.file_version", path=path):
        read_settings_file(path)


def test_a_configuration_of_onetrainer_is_taken(tmp_path: Path) -> None:
    """And it is told what of it is not used."""
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps({"base_model_name": "m", "training_method": "EMBEDDING", "batch_size": 3, "unet": {"train": True}})
    )
    told: list[Message] = []
    assert read_settings_file(path, told.append) == {"model": "m", "batch_size": 3}
    assert ids(told) == ["settings.onetrainer_left_out"]
    assert (told[0].values["taken"], told[0].values["names"]) == (2, ["training_method", "unet.train"])


def test_a_file_of_kohyas_gui_is_read(tmp_path: Path) -> None:
    """Its fields become settings, what has no use is told, and another kind of training is a sentence."""
    form = {"model_list": "custom", "max_resolution": "256,256", "lr_warmup": 0, "token_string": "mycat", "epoch": 2}
    path, told = tmp_path / "mycat_20261129.json", list[Message]()
    path.write_text(json.dumps({**form, "template": "caption", "multi_gpu": True, "of_tomorrow": 1}), "utf-8")
    values = read_settings_file(path, told.append)
    assert values == {"max_train_epochs": 2, "resolution": "256,256", "token_string": "mycat"}
    assert ids(told) == ["peers.not_used", "settings.kohya_gui_left_out"]
    del form["token_string"]
    path.write_text(json.dumps(form), "utf-8")
    with refused("settings.file_refused"):
        read_settings_file(path)


def test_a_preset_that_the_page_exports_is_read(tmp_path: Path) -> None:
    """Its name is no word's, and what it does not say is as the page has it: not as in the oldest runs."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "mine", "settings": {"steps": 300}}))
    config = TrainConfig.from_dict(read_settings_file(path))
    assert (config.name, config.preset, config.steps) == ("", "fast", 300)
    path.write_text(json.dumps({"name": "mine", "settings": {"steps": 300, "preset": "kohya"}}))
    assert TrainConfig.from_dict(read_settings_file(path)).preset == "kohya"
