"""Hostile model files: a sentence, soon, and without much memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from tests.core.formats.files_made_wrong import HOSTILE, MADE, tensor, with_tensor, zipped
from tests.core.formats.test_hostile import MEGABYTES, SECONDS, largest_memory
from tinv_ext.core.errors import InputError
from tinv_ext.hosts.diffusers.checkpoint.read_tensors import read_tensors
from tinv_ext.hosts.diffusers.open_pipeline import open_pipeline

pytest.importorskip("resource", reason="Windows does not tell a process's largest memory")
SLOWER = 3  # a checkpoint may have twenty times as many opcodes as an embedding


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("kind", [*HOSTILE, *MADE])
def test_a_hostile_model_file_is_told_in_a_sentence(kind: str, suffix: str, tmp_path: Path) -> None:
    """All that readers of embeddings are held against, as a checkpoint."""
    path = tmp_path / f"model{suffix}"
    data = HOSTILE[kind] if kind in HOSTILE else MADE[kind]()
    path.write_bytes(data)
    before, begun = largest_memory(), time.process_time()
    with pytest.raises(InputError) as caught:
        open_pipeline(path)
    assert str(path) in str(caught.value)
    if data.startswith(b"PK"):  # others are mapped, until nobody has the error any more
        assert str(path) not in open_files()
    assert time.process_time() - begun < SECONDS * SLOWER
    assert largest_memory() - before < MEGABYTES


def open_files() -> list[str]:
    """What this process has open, where the system tells it."""
    folder = Path("/proc/self/fd")
    return [os.readlink(link) for link in folder.iterdir() if link.is_symlink()] if folder.is_dir() else []


def test_a_small_file_does_not_become_large(tmp_path: Path) -> None:
    """One number that is said to be a million, as often as the file has room."""
    path = tmp_path / "model.ckpt"
    wide = with_tensor(tensor(1, 0, (1 << 15, 1 << 15), (0, 0)))
    path.write_bytes(zipped(wide, data__0=bytes(4)))
    before = largest_memory()
    with pytest.raises(InputError):
        open_pipeline(path)
    assert largest_memory() - before < MEGABYTES


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_every_type_of_numbers_is_read_as_torch_reads_it(tmp_path: Path, new: bool) -> None:
    """Views, shared numbers, a training checkpoint around them; bit for bit."""
    path, base = tmp_path / "model.ckpt", torch.randn(6, 4)
    kinds = (
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.float64,
        torch.int64,
        torch.int32,
        torch.int8,
        torch.bool,
    )
    tensors = {str(kind): (base * 9).to(kind) for kind in kinds}
    tensors |= {"transposed": base.T, "row": base[2], "shared": base, "one": torch.tensor(3), "none": torch.zeros(0, 4)}
    content = {"state_dict": tensors, "epoch": 3, "lr": [{"step": 1, "by": (0.9, None)}]}
    torch.save(content, path, _use_new_zipfile_serialization=new)
    read = read_tensors(path)
    assert list(read) == list(tensors)
    assert all(torch.equal(read[key], value) and read[key].dtype == value.dtype for key, value in tensors.items())
