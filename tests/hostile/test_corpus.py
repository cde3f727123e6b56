"""Hostile files over all readers: each ends in what is right or in an error with a sentence, soon and in bounds."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.core.formats.test_hostile import MEGABYTES, largest_memory
from tests.hostile.corpus import hostile_files
from tests.hostile.readers import reader_of
from tinv_ext.core.errors import TinvError

SECONDS = 10.0  # of processor time for one file, against runaways
EVERYDAY, ALL = 8, 60  # files of each kind
NO_FEWER = 1500


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With one image, whose latent is cached."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "images" / "a.png")
    return tmp_path


def held_against_all(folder: Path, each: int, made: bool) -> int:
    """How many files every reader has survived; AssertionError names the first that it has not."""
    count, before = 0, largest_memory() if sys.platform != "win32" else 0.0
    for kind, name, data in hostile_files(folder / "good", each, made):
        begun, blank = time.process_time(), False
        try:
            reader_of(kind)(data, folder)
        except TinvError as error:
            blank = not all(problem.strip() for problem in error.problems)
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
        assert not blank, name
        assert time.process_time() - begun < SECONDS, name
        count += 1
    if sys.platform != "win32":
        assert largest_memory() - before < 3 * MEGABYTES
    return count


def test_some_hostile_files_of_every_kind(folder: Path) -> None:
    """As many as seconds allow."""
    assert held_against_all(folder, EVERYDAY, made=False) >= 160


@pytest.mark.slow
def test_all_hostile_files(folder: Path) -> None:
    """The whole corpus."""
    assert held_against_all(folder, ALL, made=True) >= NO_FEWER
