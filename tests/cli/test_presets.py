"""Presets on the command line: shown, chosen by name or file, above a settings file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Said
from tests.messages import refused
from tinv_ext.cli.given import given_settings
from tinv_ext.cli.main import main, read_options
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.config_file import to_file
from tinv_ext.core.settings.presets import PRESETS

Tinv = Callable[..., Said]


def given(*arguments: object) -> TrainConfig:
    """The settings of `tinv train` with these arguments."""
    return TrainConfig.from_dict(given_settings(read_options(["train", "--name", "zibbo", *map(str, arguments)])))


def test_a_preset_that_is_written_out_is_the_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As TOML, which `--preset FILE` takes; edited, it is another; flags go before it."""
    assert main(["presets", "fast", "--purpose", "style"]) == 0
    written = capsys.readouterr().out
    file = tmp_path / "own.toml"
    file.write_text(written)
    own = given("--preset", file, "--preview-every", 7)
    assert own.to_dict() == given("--preset", "fast", "--purpose", "style", "--preview-every", 7).to_dict() | {
        "preset": own.preset,
        "purpose": "object",
    }
    file.write_text('preset = "fast"\nbatch_size = 8\nsteps = 5')
    edited = given("--preset", file, "--steps", 6)
    assert (edited.preset, edited.optimizer, edited.batch_size, edited.steps) == ("fast", "ong", 8, 6)
    file.write_text(f'preset = "{file.name}"')  # a file names no other
    with refused("settings.not_a_choice", name="preset"):
        given("--preset", file)


def test_a_file_that_is_not_there_is_told_as_a_file(tmp_path: Path) -> None:
    """Also a folder; what looks like no path is told as a name."""
    for path in (tmp_path / "none.toml", tmp_path, "none.JSON", "a/b"):
        with refused("cli.no_preset_file", path=str(path), presets=tuple(PRESETS)):
            given("--preset", path)
    with refused("settings.not_a_choice", name="preset"):
        given("--preset", "fats")


def test_null_in_a_preset_says_nothing(tmp_path: Path) -> None:
    """As in a file that --config names."""
    file = tmp_path / "own.json"
    file.write_text('{"preset": "fast", "learning_rate": null, "batch_size": 3}')
    assert given("--preset", file) == TrainConfig.from_dict({"name": "zibbo", "preset": "fast", "batch_size": 3})


def test_all_of_them_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A column each, with the settings in which they differ."""
    assert main(["presets"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == list(PRESETS)
    assert next(row.split() for row in rows if row.startswith("optimizer ")) == [
        "optimizer", "ong", "ong", "adamw", "adamw", "adamw",
    ]  # fmt: skip


def test_a_preset_goes_before_what_the_one_of_a_run_had_chosen(tmp_path: Path) -> None:
    """A run's config.json has every setting; those that its preset had chosen give way, the others stay."""
    file = tmp_path / "config.json"
    run = TrainConfig.from_dict({"name": "zibbo", "preset": "diffusers", "batch_size": 3, "seed": 4})
    file.write_text(json.dumps(to_file(run, {})))
    assert given("--config", file) == run
    again = given("--config", file, "--preset", "fast")
    assert again == TrainConfig.from_dict({"name": "zibbo", "preset": "fast", "batch_size": 3, "seed": 4})


def test_what_contradicts_a_preset_starts_nothing(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """Exit code 2, together with what else is wrong."""
    before = set(tmp_path.iterdir())
    said = tinv("train", "--name", "zibbo", "--images", pictures, "--preset", "fast", "--learning-rate", "0.005",
                "--width", 65)  # fmt: skip
    assert said.code == 2
    assert "fast" in said.err
    assert "(width)" in said.err
    assert set(tmp_path.iterdir()) == before


def test_a_run_keeps_its_preset(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """config.json has name and values; a resume under another preset is refused, and more steps are taken."""
    short = ("--steps", 2, "--preview-every", 0, "--evaluate-every", 0)
    said = tinv("train", "--name", "zibbo", "--images", pictures, "--preset", "fast", *short)
    assert said.code == 0, said.err
    (run,) = (tmp_path / "textual_inversion").glob("20*/*")
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert (settings["preset"], settings["optimizer"], settings["timestep_balance"]) == ("fast", "ong", 1.0)
    said = tinv("train", "--resume", run, "--preset", "classic", "--steps", 3)
    assert said.code == 2
    assert "(preset)" in said.err
    assert tinv("train", "--resume", run, "--steps", 3, "--preset", "fast").code == 0
