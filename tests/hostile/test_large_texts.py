"""Texts that are none: very large (sparse) files, pipes without an end and very deep ones, in the place of each text.

The memory of the process stays small, and a sentence says what is wrong.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.messages import ids, refused
from tinv_ext.core.data.caption_files import CaptionFiles
from tinv_ext.core.data.captions import read_template, read_text
from tinv_ext.core.errors import InputError
from tinv_ext.core.settings.settings_file import read_settings_file
from tinv_ext.hosts.diffusers.checkpoint.configs import read_json
from tinv_ext.run.run_lock import owner_of

ENOUGH = 300 * 2**20  # bytes that reading may take at most


def huge(path: Path) -> Path:
    """A file of 20 GB that takes no place on the disk."""
    with path.open("wb") as file:
        file.truncate(20 << 30)
    return path


def within_memory(read: Callable[[], Any]) -> Any:
    """What `read` returns, if the process never became much larger."""
    tracemalloc.start()
    try:
        return read()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < ENOUGH


READERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "text": (read_text, "captions.unreadable"),
    "template": (lambda path: read_template(str(path)), "captions.unreadable"),
    "settings.json": (read_settings_file, "settings.file_unreadable"),
    "settings.toml": (read_settings_file, "settings.file_unreadable"),
    "model_index.json": (read_json, "checkpoint.config_unreadable"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_huge_text_is_refused(name: str, tmp_path: Path) -> None:
    """Before all of it is read."""
    read, id = READERS[name]  # noqa: A001
    with refused(id):
        within_memory(lambda: read(huge(tmp_path / name)))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such device")
def test_a_settings_file_may_be_a_pipe_but_must_end() -> None:
    """/dev/zero stands for what never does."""
    with refused("settings.file_unreadable"):
        within_memory(lambda: read_settings_file(Path("/dev/zero")))


@pytest.mark.parametrize("name", ["a.txt", "a.caption", "metadata.jsonl", "metadata.csv"])
def test_a_huge_file_in_the_place_of_captions_is_told(name: str, tmp_path: Path) -> None:
    """The caption of an image, or a problem with the table; never all memory."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    huge(tmp_path / name)
    files = CaptionFiles(tmp_path)
    if name.startswith("a."):
        with refused("captions.unreadable"):
            within_memory(lambda: files.of(tmp_path / "a.png"))
    else:
        within_memory(lambda: files.of(tmp_path / "a.png"))
        assert ids(files.problems) == ["captions.table_unreadable"]


def test_a_huge_lock_counts_as_one_that_is_being_written(tmp_path: Path) -> None:
    """Nobody's, once it is old; it is not read to its end."""
    huge(tmp_path / "run.lock")
    assert within_memory(lambda: owner_of(tmp_path)) is None


@pytest.mark.parametrize("name", ["deep.json", "deep.toml"])
def test_a_deep_settings_file_is_no_settings_file(name: str, tmp_path: Path) -> None:
    """A hundred thousand brackets."""
    (tmp_path / name).write_text("a = " * name.endswith("toml") + "[" * 100_000)
    with pytest.raises(InputError) as caught:
        read_settings_file(tmp_path / name)
    assert ids(caught.value.problems) == ["settings.file_invalid"]
