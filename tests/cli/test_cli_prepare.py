"""The command `prepare`: report, images, captions, undo, and what it says of bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prepare.pictures import photo
from tests.prepare.test_undo import content
from tinv_ext.cli import prepare as command
from tinv_ext.cli.failures import BAD_INPUT, DONE
from tinv_ext.cli.main import main
from tinv_ext.prepare import options


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two images, one captioned."""
    folder = tmp_path / "in"
    folder.mkdir()
    photo(1, 300, 200).save(folder / "a.png")
    photo(2, 900, 200).save(folder / "b.png")
    (folder / "a.txt").write_text("a cat\nindoors", "utf-8")
    return folder


def test_the_choices_are_those_of_the_options() -> None:
    """They stand in two places, so that --help is quick."""
    assert (command.CROPS, command.EXISTING) == (options.CROPS, options.EXISTING)


def test_check_then_prepare_then_undo(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report names each image, what becomes of it and its captions; then that is what is written."""
    before = content(tmp_path)
    flags = [str(source), str(tmp_path / "out"), "--width", "128", "--height", "128", "--split", "--flip", "vertical"]
    assert main(["prepare", *flags, "--check"]) == DONE
    told = capsys.readouterr().out
    assert 'a.png  300×200  → 2 images of 128×128  "a cat | indoors"' in told
    assert "b.png  900×200  → 12 images of 128×128; has no caption" in told
    assert content(tmp_path) == before
    assert main(["prepare", *flags]) == DONE
    told = capsys.readouterr()
    assert "Done: 14 images and 2 captions" in told.out
    assert "--undo" in told.err
    assert (tmp_path / "out" / "00000-1-a.txt").read_text("utf-8") == "a cat\nindoors"
    assert main(["prepare", str(tmp_path / "out"), "--undo"]) == DONE
    assert "16 files removed" in capsys.readouterr().out
    assert content(tmp_path) == before


def test_a_long_report_is_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images with findings come first; the others are counted."""
    monkeypatch.setattr(command, "_SHOWN", 3)
    for index in range(5):
        photo(index, 128, 128).save(tmp_path / f"{index}.png")
        if index < 4:
            (tmp_path / f"{index}.txt").write_text("a caption")
    assert main(["prepare", str(tmp_path), "--check", "--width", "128", "--height", "128"]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert "  4.png  128×128; has no caption" in lines[2]
    assert lines[5].strip() == "… and 2 more"
    assert len(lines) == 6


def test_bad_input(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sentences and exit code 2; nothing is written."""
    before = content(tmp_path)
    for flags, sentence in (
        ([str(source)], "There is nothing to do"),
        ([str(source), "--caption", "blip"], "blip is a part of the WebUI"),
        ([str(source), "--caption", "wd14"], "wd14 needs the file of a tagger"),
        ([str(source), "--caption", "wd14", "--tagger", "no.onnx"], "There is no"),
        ([str(source), str(source)], "cannot go into"),
        ([str(source), str(tmp_path / "out"), "--flip", "up"], '"flip" cannot be "up"'),
        ([str(source), "--undo"], "no preparation to undo"),
        ([str(source), str(tmp_path / "out"), "--undo"], "Undo takes one folder"),
        ([str(tmp_path / "nowhere"), str(tmp_path / "out")], "does not exist"),
    ):
        assert main(["prepare", *flags]) == BAD_INPUT
        assert sentence in capsys.readouterr().err
    assert content(tmp_path) == before
