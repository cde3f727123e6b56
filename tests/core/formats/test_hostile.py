"""Hostile files: a sentence, never a crash, never code that runs, never much memory or time."""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.core.formats.files_made_wrong import HOSTILE, MADE, legacy, zipped
from tests.messages import refused
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats import read_all, read_contents, read_embedding
from tinv_ext.core.formats.torch_bytes import torch_bytes

resource = pytest.importorskip("resource", reason="Windows does not tell a process's largest memory")
SECONDS = 5.0  # of processor time: the bound is against runaways, and another process must not break it
MEGABYTES = 200


class Runs:
    """Pickled, it makes a folder when Python's unpickler reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def read(data: bytes, folder: Path) -> Embedding:
    """What the reader makes of these bytes."""
    path = folder / "file.pt"
    path.write_bytes(data)
    return read_embedding(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("container", [legacy, zipped])
@pytest.mark.parametrize("place", ["top", "inside", "beside"])
def test_no_code_runs(place: str, container: Callable[[bytes], bytes], protocol: int, tmp_path: Path) -> None:
    """A call of os.mkdir, wherever it stands, is an error that names it; Python's own unpickler would have run it."""
    canary = Runs(tmp_path / "ran")
    value = {"top": canary, "inside": {"string_to_param": {"*": canary}}, "beside": {"a": [canary]}}[place]
    program = pickle.dumps(value, protocol)
    with refused("formats.pickle_name", FormatError, name=f"{os.mkdir.__module__}.mkdir"):
        read(container(program), tmp_path)
    assert not (tmp_path / "ran").exists()
    pickle.loads(program)
    assert (tmp_path / "ran").exists()


NAMES = [
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("os", "system"),
    ("torch", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("torch.nn.modules.container", "Module"),
    ("collections", "OrderedDict.__init__"),
    ("numpy.core.multiarray", "fromfile"),
    ("functools", "partial"),
    ("pytorch_lightning.callbacks", "model_checkpoint"),
]


@pytest.mark.parametrize("module, name", NAMES)
def test_only_names_in_the_table_are_known(module: str, name: str, tmp_path: Path) -> None:
    """Also names of modules that have harmless ones."""
    with refused("formats.pickle_name", FormatError, name=f"{module}.{name}"):
        read(legacy(b"\x80\x02c" + f"{module}\n{name}\n".encode() + b")R."), tmp_path)


def largest_memory() -> float:
    """The most megabytes that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1_000 if sys.platform == "linux" else 1_000_000)


@pytest.mark.parametrize("kind", [*HOSTILE, *MADE])
def test_a_hostile_file_is_told_in_a_sentence(kind: str, tmp_path: Path) -> None:
    """FormatError that begins with the path and ends like a sentence, soon, and without much memory."""
    path = tmp_path / "file.pt"
    path.write_bytes(HOSTILE[kind] if kind in HOSTILE else MADE[kind]())
    before, begun = largest_memory(), time.process_time()
    with pytest.raises(FormatError) as caught:
        read_embedding(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 1000
    assert time.process_time() - begun < SECONDS
    assert largest_memory() - before < MEGABYTES


@pytest.mark.parametrize("kind", ["numbers that are not finite", "safetensors: cut off", "a list in itself"])
def test_reading_all_tells_the_same(kind: str, tmp_path: Path) -> None:
    """`read_all` refuses what `read_embedding` refuses, with the path."""
    (tmp_path / "file.pt").write_bytes(HOSTILE[kind])
    with refused("formats.in_file", FormatError, path=tmp_path / "file.pt"):
        read_all(tmp_path / "file.pt")


def test_reading_the_contents_allocates_no_numbers(tmp_path: Path) -> None:
    """What `inspect` shows comes from the shapes; a claim of many numbers is judged before anything is made for it."""
    path = tmp_path / "file.pt"
    path.write_bytes(torch_bytes({"string_to_param": {"*": torch.ones(2, 768)}}))
    contents = read_contents(path)
    assert (contents.layout, contents.container) == ("A1111", "torch legacy")
    assert contents.embeddings[0].vectors["clip_l"].shape == (2, 768)
