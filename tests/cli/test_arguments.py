"""Arguments as people write them: underscores, flags with a value, a launcher in front, misspelt ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Said
from tests.messages import ids
from tinv_ext.cli.arguments import commands_of, spelled, unknown, without_launcher
from tinv_ext.cli.main import _parser, main

Tinv = Callable[..., Said]
TRAIN = commands_of(_parser())["train"]


@pytest.mark.parametrize(
    "command",
    [
        ("prepare", ""),
        ("queue", " "),
        ("sweep", "", "--set", "seed=1,2", "--out", "runs"),
        ("sweep", "base.toml", "--set", "seed=1,2", "--out", ""),
        ("inspect", ""),
        ("convert", "zibbo.pt", ""),
        ("average", "a.pt", "b.pt", "--output", ""),
        ("restore", ""),
        ("push", ""),
        ("toy", "export", ""),
    ],
)
def test_a_file_that_is_needed_cannot_be_empty(
    tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unset variable of a script would mean the current folder, and be written into."""
    monkeypatch.chdir(tmp_path)
    told = main([*command])
    assert told == 2
    assert "file or folder among the arguments is empty" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_empty_file_that_is_not_needed_says_nothing() -> None:
    """It is as if it had not been given."""
    parser = _parser()
    unsaid = {
        ("train",): "config",
        ("prepare", "in", "--mask-backgrounds"): "tagger",
        ("convert", "a.pt", "b.png"): "picture",
        ("generate", "a photo"): "output",
        ("toy", "demo"): "output",
    }
    for command, option in unsaid.items():
        assert parser.parse_args([*command, f"--{option}="]) == parser.parse_args(command)
    assert parser.parse_args(["prepare", "in", ""]) == parser.parse_args(["prepare", "in"])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["--token_string", "my_char"], ["--token-string", "my_char"]),
        (["--token_string=my_char"], ["--token-string=my_char"]),
        (["--Learning_Rate=1e-3"], ["--learning-rate=1e-3"]),
        (["--shuffle_caption"], ["--shuffle-caption"]),
        (["--shuffle_caption=true"], ["--shuffle-caption"]),
        (["--shuffle_caption", "False", "--seed", "1"], ["--no-shuffle-caption", "--seed", "1"]),
        (["--no-shuffle_caption=false"], ["--shuffle-caption"]),
        (["--recursive=0"], ["--no-recursive"]),
        (["--xformers=false", "--steps=1"], ["--steps=1"]),
        (["--xformers", "yes"], ["--xformers"]),
        (["--preview-prompt=a --b_c"], ["--preview-prompt=a --b_c"]),
        (["--no_such", "x_y"], ["--no_such", "x_y"]),
        (["--", "--token_string"], ["--", "--token_string"]),
    ],
)
def test_options_are_spelled_as_the_parser_has_them(written: list[str], meant: list[str]) -> None:
    """Values are left as they are."""
    assert spelled(written, TRAIN) == meant


def test_what_launches_another_trainer_is_cut_off() -> None:
    """With accelerate's options; of the arguments of ours nothing is."""
    line = ["accelerate", "launch", "--num_cpu_threads_per_process", "1", "train_textual_inversion.py", "--seed=1"]
    assert without_launcher(line) == (["--seed=1"], line[:5])
    line = ["python", r"C:\sd\sdxl_train_textual_inversion.py", "--seed", "1"]
    assert without_launcher(line) == (["--seed", "1"], line[:2])
    assert without_launcher(["--images", "x", "--template=a.py"]) == (["--images", "x", "--template=a.py"], [])


def test_what_nobody_knows_is_told_with_the_nearest() -> None:
    """An option with its value once; a value of nothing for itself."""
    known = TRAIN._option_string_actions
    told = list(unknown(["--tokn_string", "x", "--qqqqqqq=3", "-5", "--batch-sise", "-1", "more"], known))
    assert ids(told) == [
        "cli.unknown_option_near",
        "cli.unknown_option",
        "cli.stray_argument",
        "cli.unknown_option_near",
    ]
    assert [message.values.get("near") for message in told] == ["--token-string", None, None, "--batch-size"]


def test_unknown_options_and_bad_values_are_told_together_and_nothing_is_started(tinv: Tinv) -> None:
    """Before any model is loaded, exit code 2."""
    said = tinv("train", "--tokn_string", "x", "--resolution=1,2,3", "--steps", "many", "--model", "nowhere")
    assert said.code == 2
    for part in ('Did you mean "--token-string"?', '"1,2,3"', "steps"):
        assert part in said.err, part
    assert "nowhere" not in said.err


@pytest.mark.parametrize("command", [["inspect", "x.pt"], ["generate", "x"], ["create", "x"], ["convert", "a", "b.pt"]])
def test_every_command_tells_what_it_does_not_know(tinv: Tinv, command: list[str]) -> None:
    """In the same words, with exit code 2."""
    said = tinv(*command, "--overwritee", "--modle=x")
    assert said.code == 2
    assert '"--modle"' in said.err
    assert '"--overwritee"' in said.err


def test_a_value_in_quotes_that_were_forgotten_is_named(tinv: Tinv) -> None:
    """A sentence, not a usage text."""
    said = tinv("train", "--preview-prompt", "a", "photo", "of")
    assert (said.code, '"photo"' in said.err, '"of"' in said.err) == (2, True, True)
