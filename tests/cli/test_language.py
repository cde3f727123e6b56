"""The command line speaks the language that the system is set to."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Said
from tinv_ext.cli import language
from tinv_ext.cli.main import main

VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No variable says a language."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "zh_CN"}, "zh_CN"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh_CN"),
        ({"LANG": "en_US.UTF-8"}, "en"),
    ],
)
def test_variables_decide_in_their_order(unset: pytest.MonkeyPatch, variables: dict[str, str], expected: str) -> None:
    """As in every program of the system; an empty one counts as none."""
    for name, value in variables.items():
        unset.setenv(name, value)
    assert language.language() == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("zh_CN", "zh_CN"), ("Chinese (Simplified)_China", "zh_CN"), ("English_United States", "en"), (None, "en")],
)
def test_else_the_system_decides(unset: pytest.MonkeyPatch, name: str | None, expected: str) -> None:
    """Windows sets no variables and has names of its own."""
    unset.setattr(language.locale, "getlocale", lambda: (name, None))
    assert language.language() == expected


def test_help_problems_and_output_are_chinese(
    tinv: Callable[..., Said],
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each sentence of a command; flags, choices and values stay as they are typed."""
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    assert "一个学习率" in shown
    assert "--learning-rate" in shown
    said = tinv("train", "--name", "cat", "--images", pictures, "--steps", 0, "--resize-mode", "x")
    assert said.code == 2
    lines = said.err.splitlines()
    assert len(lines) == 4
    assert all(CHINESE.search(line) for line in lines), said.err
    assert "(resize_mode)" in said.err
    said = tinv("check", "--name", "zibbo", "--images", pictures)
    assert (said.code, "每张图片大约会用到 80 次" in said.out) == (0, True), said.err
    said = tinv("train", "--name", "zibbo", "--images", pictures, "--steps", 1, "--evaluate-every", 0)
    assert said.out.startswith("已在第 1 步完成。")
