"""The documented command lines of other trainers, as docs/coming-from.md shows them: each runs as it stands."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.messages import ids, refused, said
from tests.paths import DOCS
from tinv_ext.cli.arguments import commands_of
from tinv_ext.cli.given import given_settings
from tinv_ext.cli.main import _parser, main, read_options
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import SETTINGS, TrainConfig, current_names
from tinv_ext.core.settings.peers import PEERS
from tinv_ext.run.run_folder import RunFolder

BLOCK = re.compile(r"^### \[?(?P<title>[^\]\n]+).*\n\n```sh\ntinv (?P<line>[^`]+)```", re.MULTILINE)
LINES = {
    found["title"]: found["line"].replace("\\\n", " ")
    for found in BLOCK.finditer((DOCS / "coming-from.md").read_text("utf-8"))
}
KOHYA = {"name": "mychar", "init_text": "girl", "num_vectors": 4, "steps": 1600, "learning_rate": "1e-6"}
OLDER = {"name": "mychar4", "init_text": "cute", "num_vectors": 4, "template": "none"}
DIFFUSERS = {"name": "cat-toy", "init_text": "toy", "template": "subject"}
LEARNING = {"learning_rate": "5.0e-04", "scale_lr": True, "gradient_accumulation_steps": 4, "batch_size": 1}
MEANT: dict[str, dict[str, Any]] = {
    "Kohya, SD1 and SD2": {**KOHYA, "output": "output"},
    "Kohya, SDXL": {**KOHYA, "output": "output"},
    "Kohya, the Japanese manual": {**OLDER, "steps": 1600, "learning_rate": "1e-6", "output": "output"},
    "Kohya, the older English manual": {
        **OLDER,
        "images": "data/db/char1",
        "output": "ti_train1",
        "width": 448,
        "height": 640,
        "batch_size": 1,
        "learning_rate": "1e-4",
        "steps": 400,
        "clip_skip": 2,
        "seed": 42,
    },
    "Diffusers": {**DIFFUSERS, **LEARNING, "width": 512, "height": 512, "steps": 3000},
    "Diffusers, with more vectors and validation images": {
        **DIFFUSERS,
        "num_vectors": 5,
        "preview_prompt": "A [name] train",
        "preview_every": 100,
        "save_state_every": 500,
    },
    "Diffusers, SDXL": {**DIFFUSERS, **LEARNING, "width": 768, "height": 768, "steps": 500},
}


def test_every_line_of_the_docs_is_tried() -> None:
    """And there is one of each manual."""
    assert LINES.keys() == MEANT.keys()


@pytest.mark.parametrize("title", MEANT)
def test_a_documented_command_line_means_what_it_says(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every option arrives at its setting, or is told in a line; nothing is unknown."""
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    options = read_options(shlex.split(LINES[title]))
    config, problems = TrainConfig.read(given_settings(options, told.append))
    assert problems == []
    values = config.to_dict()
    assert {name: values[name] for name in MEANT[title]} == MEANT[title]
    assert set(ids(told)) <= {"peers.not_used", "peers.captions_are_prompts", "cli.no_latest"}
    assert options["precision"] == ("bf16" if "SDXL" in title and "Diffusers" in title else "auto")


def test_options_that_are_told_are_those_without_a_use() -> None:
    """Of the Japanese manual's line; what asks for what is done anyway (a prior weight of 1) is not told."""
    told: list[Any] = []
    given_settings(read_options(shlex.split(LINES["Kohya, the Japanese manual"])), told.append)
    options = [option for line in told for option in line.values.get("options", ())]
    assert {"--xformers", "--optimizer_type=AdamW8bit"} <= set(options)
    assert not {"--prior_loss_weight", "--mixed_precision", "--cache_latents"} & set(options)


def test_kohyas_older_line_runs(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the toy, with two steps of small images."""
    monkeypatch.chdir(tmp_path)
    line = LINES["Kohya, the older English manual"].replace("model.ckpt", "toy").replace("data/db/char1", str(pictures))
    assert main([*shlex.split(line), "--max_train_steps=2", "--resolution=64,72"]) == 0
    made = read_embedding(tmp_path / "ti_train1" / "embeddings" / "mychar4.safetensors")
    assert (made.count, made.step) == (4, 2)
    (run,) = (tmp_path / "ti_train1").glob("20*/*")
    settings = json.loads((run / "config.json").read_text("utf-8"))["settings"]
    assert (settings["width"], settings["height"], settings["seed"]) == (64, 72, 42)


def test_kohyas_captions_are_the_prompts(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the word where the caption has it, else in front; the word alone where there is none."""
    monkeypatch.chdir(tmp_path)
    (pictures / "0.txt").write_text("a red mychar4, round", encoding="utf-8")
    assert main(["check", "--token_string=mychar4", f"--train_data_dir={pictures}"]) == 0
    said = capsys.readouterr().out
    prompts = said[said.index("Prompts") :].splitlines()[1:10:2]
    assert {text.strip() for text in prompts} == {"a red mychar4, round", "mychar4", "mychar4 green, round"}


def test_diffusers_line_runs(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the toy, with two steps of small images; what is not used is told; again, it resumes the latest run."""
    monkeypatch.chdir(tmp_path)
    line = LINES["Diffusers"].replace("$MODEL_NAME", "toy").replace("$DATA_DIR", str(pictures))
    few = ["--resolution=64", '--validation_prompt=A "<cat-toy>" train']
    assert main([*shlex.split(line), *few, "--max_train_steps=2"]) == 0
    folder = tmp_path / "textual_inversion_cat"
    assert read_embedding(folder / "embeddings" / "cat-toy.pt").step == 2
    out, said = capsys.readouterr()
    assert "<cat-toy>" in out  # as diffusers finds it
    assert "hf auth login" in said  # --push_to_hub, where nobody is logged in: the embedding is kept all the same
    assert "0.002" in said
    (run,) = folder.glob("20*/*")
    settings = json.loads((run / "config.json").read_text("utf-8"))["settings"]
    assert (settings["learning_rate"], settings["preview_prompt"]) == ("5.0e-04", 'A "[name]" train')
    again = [*shlex.split(line), *few, "--max_train_steps=3", "--resume_from_checkpoint=latest"]
    assert main(again) == 0
    assert str(run.relative_to(tmp_path)) in capsys.readouterr().err.replace("\n", "")
    assert read_embedding(folder / "embeddings" / "cat-toy.pt").step == 3
    assert main(["check", *again[1:], "--overwrite"]) == 0
    assert "Resuming" not in capsys.readouterr().err


def test_debug_dataset_only_looks(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """kohya's way to see the tokens: that is our check."""
    monkeypatch.chdir(tmp_path)
    arguments = [
        "--token_string=mychar4",
        f"--train_data_dir={pictures}",
        "--num_vectors_per_token=2",
        "--debug_dataset",
    ]
    assert main(["train", *arguments]) == 0
    assert "mychar4#1 mychar4#2" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_kohyas_config_file_is_read(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own option, with or without .toml; the names of its sections mean nothing, and a flag wins."""
    monkeypatch.chdir(tmp_path)
    text = f"""
pretrained_model_name_or_path = "toy"
[files]
train_data_dir = {json.dumps(str(pictures))}
output_name = "mychar4"
[training]
resolution = "64,72"
max_train_steps = 5
optimizer_args = ["weight_decay=0.1", "betas=.9,.99"]
xformers = true
seed = 3
"""
    Path("kohya.toml").write_text(text, encoding="utf-8")
    told: list[Any] = []
    options = read_options(["train", "--config_file", "kohya", "--seed=4"])
    config = TrainConfig.from_dict(given_settings(options, told.append))
    assert (config.name, config.images, config.width, config.height) == ("mychar4", str(pictures), 64, 72)
    assert (config.steps, config.seed, options["model"]) == (5, 4, "toy")
    assert "--xformers" in [option for line in told for option in line.values["options"]]
    Path("sweep").mkdir()  # of which no file is meant that nobody has named
    with refused("settings.file_unreadable", path=Path("sweep")):
        given_settings(read_options(["train", "--config_file", "sweep"]))


def test_a_settings_file_may_name_the_model(tmp_path: Path) -> None:
    """As the command line does; a flag comes before it, and what is no precision is told."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"name": "zibbo", "model": "m", "device": "cpu", "precision": "fp32", "vae": None}))
    options = read_options(["train", "--config", str(path), "--model", "n"])
    assert given_settings(options) == {"name": "zibbo"}
    assert (options["model"], options["device"], options["precision"], options["vae"]) == ("n", "cpu", "fp32", None)
    path.write_text(json.dumps({"precision": "fp99"}))
    assert main(["train", "--config", str(path)]) == 2


def _read(path: Path, values: Mapping[str, Any], *flags: str) -> dict[str, Any]:
    """The options of `tinv train` with a settings file of these values, after it was read."""
    path.write_text(json.dumps({"name": "zibbo", **values}))
    options = read_options(["train", "--config", str(path), *flags])
    given_settings(options, lambda told: None)
    return options


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_option_says_nothing(tmp_path: Path, empty: str) -> None:
    """As forms save their empty fields; in a file and as a flag. kohya's GUI saves false for no run to resume."""
    names = ("embeddings", "vae", "resume", "device", "precision", "cuda_graphs", "model")
    usual = {**dict.fromkeys(names), "device": "auto", "precision": "auto"}
    kohya = {"mixed_precision": empty, "pretrained_model_name_or_path": empty, "debug_dataset": empty}
    for values in (dict.fromkeys(names, empty), {"resume": False}, kohya):
        options = _read(tmp_path / "a.json", values)
        assert {name: options[name] for name in names} == usual
    flags = (f"--{name}={empty}" for name in ("embeddings", "vae", "resume", "device", "precision"))
    options = _read(tmp_path / "a.json", {}, *flags)
    assert {name: options[name] for name in names} == usual


@pytest.mark.parametrize("given", [{"output": ""}, {"output_dir": " "}, {"output": "", "resume": "latest"}])
def test_an_empty_log_directory_is_the_usual_one(tmp_path: Path, given: dict[str, Any]) -> None:
    """It would be the current folder, among which runs, embeddings and latents were strewn."""
    file, told = tmp_path / "a.json", list[str]()
    file.write_text(json.dumps(given), encoding="utf-8")
    settings = given_settings(read_options(["train", "--config", str(file)]), told.append)
    assert "output" not in current_names(settings)
    latest = [one for one in told if ids([one]) == ["cli.no_latest"]]
    assert [one.values["output"] for one in latest] == ([Path("textual_inversion")] if "resume" in given else [])
    assert "output" not in given_settings(read_options(["train", "--output="]), told.append)


def test_the_latest_run_is_one_of_these_words(tmp_path: Path) -> None:
    """Of several words a run goes by the first, which is no setting of its own."""
    words = [{"name": "<zibbo>"}, {"name": "quixxly"}]
    for number, given in enumerate(({"words": words}, {"name": "wumpo"})):
        folder = RunFolder(tmp_path / "2026-01-01" / f"{number}")
        folder.write_config(TrainConfig.from_dict(given), {})
        os.utime(folder.path / "config.json", (number, number))
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"words": words, "output": str(tmp_path)}), encoding="utf-8")
    found, told = [], []
    for flags in (["--config", str(file)], ["--output", str(tmp_path), "--name", "wumpo"], ["--output", str(tmp_path)]):
        options = read_options(["train", *flags, "--resume", "latest"])
        given_settings(options, told.append)
        found.append(options["resume"].name)
    assert found == ["0", "1", "1"]
    of_tomorrow = tmp_path / "2026-01-01" / "2"
    of_tomorrow.mkdir()
    (of_tomorrow / "config.json").write_text('{"version": 99, "settings": {"name": "zibbo"}}', "utf-8")
    assert not said(told, "settings.config_too_new")
    options = read_options(["train", "--config", str(file), "--resume", "latest"])
    given_settings(options, told.append)
    assert options["resume"].name == "0"
    assert said(told, "settings.config_too_new")


@pytest.mark.parametrize(
    "value, meant", [(False, "off"), ("off", "off"), ("No", "off"), (0, "off"), (True, "auto"), ("on", "auto")]
)
def test_cuda_graphs_in_a_file_are_turned_off_by_any_word_for_it(tmp_path: Path, value: Any, meant: str) -> None:
    """And on."""
    assert _read(tmp_path / "a.json", {"cuda_graphs": value})["cuda_graphs"] == meant


def test_debug_dataset_in_a_file_is_on_where_it_says_so(tmp_path: Path) -> None:
    """A text "false" is none."""
    assert [_read(tmp_path / "a.json", {"debug_dataset": value})["debug_dataset"] for value in (True, "true")] == [
        True,
        True,
    ]
    assert not any(_read(tmp_path / "a.json", {"debug_dataset": value})["debug_dataset"] for value in (False, "false"))


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("cuda_graphs", "nonsense", "cli.not_a_choice"),
        ("precision", "fp99", "cli.not_a_choice"),
        ("precision", True, "cli.not_a_choice"),
        ("debug_dataset", "perhaps", "cli.not_a_choice"),
        ("model", 5, "cli.not_text"),
        ("model", True, "cli.not_text"),
        ("pretrained_model_name_or_path", 15, "cli.not_text"),
        ("vae", 1.5, "cli.not_text"),
        ("embeddings", False, "cli.not_text"),
        ("resume", True, "cli.not_text"),
        ("device", 0, "cli.not_text"),
        ("embeddings", "a\0", "cli.option_problem"),
        ("vae", "a\0", "cli.option_problem"),
        ("model", "\ud800", "cli.option_problem"),
    ],
)
def test_what_an_option_in_a_file_cannot_be_is_told_by_its_name(
    tmp_path: Path, name: str, value: Any, told: str
) -> None:
    """With the name that the file has for it, before anything is opened."""
    with refused(told, called=name):
        _read(tmp_path / "a.json", {name: value})


@pytest.mark.parametrize("output", ["x\0", "\ud800"])
def test_a_log_directory_that_cannot_be_is_told_before_the_model_is_opened(tmp_path: Path, output: str) -> None:
    """Its folder of embeddings is looked at with the model."""
    with refused("settings.invalid", name="output"):
        _read(tmp_path / "a.json", {"output": output})


def test_kohyas_option_for_several_embeddings_is_taken(tmp_path: Path) -> None:
    """`gen_img.py --textual_inversion_embeddings A B` (docs/gen_img_README.md), beside our own."""
    options = read_options(["generate", "a", "--embedding", "c.pt", "--textual_inversion_embeddings", "a.pt", "b.pt"])
    assert options["embedding"] == [Path("c.pt"), Path("a.pt"), Path("b.pt")]
    assert read_options(["generate", "a"])["embedding"] == []


def test_what_the_tables_show_exists() -> None:
    """Settings, their choices, options and commands in the words of a row."""
    commands = commands_of(_parser())
    for peer, table in PEERS.items():
        for name, option in table.items():
            for code in re.findall(r"`([^`]+)`", option.shown):
                assert _exists(code.split(), commands), (peer, name, code)
            if option.command:
                assert f"--{option.command.replace('_', '-')}" in commands["train"]._option_string_actions, (peer, name)


def _exists(words: list[str], commands: Mapping[str, argparse.ArgumentParser]) -> bool:
    if words[0] == "tinv":
        options = [word for word in words[2:] if word.startswith("--")]
        return all(option in commands[words[1]]._option_string_actions for option in options)
    if words[0].startswith("--"):
        return words[0] in commands["train"]._option_string_actions
    setting, _, value = words[0].partition("=")
    if setting in (
        "auto",
        "subject",
        "style",
        "token_string",
        "latents/",
        "loss_weight",
    ):  # values, an option, a folder, a key of a subset
        return True
    about = SETTINGS[setting]
    return not value or not about.choices or value in about.choices


def test_kohyas_line_runs_with_the_dataset_of_its_manual(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the toy, in two steps: the manual's dataset_config (docs/train_textual_inversion.md), with a small size."""
    monkeypatch.chdir(tmp_path)
    text = f"""
[general]
shuffle_caption = false
caption_extension = ".txt"
keep_tokens = 1

[[datasets]]
resolution = 64                    # 1024 for SDXL
batch_size = 4                      # Can use larger values than LoRA training
enable_bucket = true

  [[datasets.subsets]]
  image_dir = {json.dumps(str(pictures))}
  caption_extension = ".txt"
  num_repeats = 10
"""
    Path("dataset_config.toml").write_text(text, encoding="utf-8")
    line = LINES["Kohya, SD1 and SD2"].replace("path/to/model.safetensors", "toy")
    assert main([*shlex.split(line), "--max_train_steps=2"]) == 0, capsys.readouterr().err
    (file,) = (path for path in (tmp_path / "output" / "embeddings").iterdir() if path.suffix != ".png")
    made = read_embedding(file)
    assert (file.name, made.count, made.step) == ("mychar.safetensors", 4, 2)
    (run,) = (tmp_path / "output").glob("20*/*")
    settings = json.loads((run / "config.json").read_text("utf-8"))["settings"]
    assert (settings["template"], settings["learning_rate"]) == ("none", "1e-6")
