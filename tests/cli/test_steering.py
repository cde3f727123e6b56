"""A training steered by lines on standard input."""

from __future__ import annotations

import io

import pytest

from tinv_ext.cli.steering import steered_by
from tinv_ext.run.events import RunControls


def steered(lines: str) -> RunControls:
    """The controls when all lines were read."""
    controls = RunControls()
    steered_by(io.StringIO(lines), controls).join(10)
    return controls


def test_each_command_does_what_the_button_does() -> None:
    """One a line, whatever ends it; a pause is taken back by resume."""
    controls = steered("pause\r\nsnapshot\n\npreview\n")
    assert controls.pause.is_set()
    assert controls.take("snapshot")
    assert controls.take("preview")
    assert not steered("pause\nresume\n").pause.is_set()


def test_whoever_steers_is_gone_so_it_saves_and_ends() -> None:
    """As where the program that began it was killed."""
    assert steered("").stop.is_set()
    assert steered("stop\n").stop.is_set()


def test_a_line_that_is_no_command_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is told, with what there is."""
    controls = steered("stopp\n")
    assert not controls.pause.is_set()
    assert "'stopp'" in caplog.text
    assert "stop, pause, resume" in caplog.text


def test_a_pipe_that_breaks_is_an_end() -> None:
    """A closed one, or bytes that are no text."""

    class Broken(io.StringIO):
        def __next__(self) -> str:
            raise OSError("broken")

    controls = RunControls()
    steered_by(Broken(), controls).join(10)
    assert controls.stop.is_set()
