"""Whoever reads the folder of embeddings while files are written into it never sees a half one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.messages import refused
from tests.paths import ROOT
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats import safetensors_file, write_embedding

pytestmark = pytest.mark.once


@pytest.mark.parametrize("saves", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_reader_that_polls_sees_only_whole_files(tmp_path: Path, saves: int) -> None:
    """Another process reads all the time; each file it gets is one that was written, from beginning to end."""
    folder = tmp_path / "embeddings"
    folder.mkdir()
    command = [sys.executable, "-m", "tests.faults.reading", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout
        assert reader.stdout.readline() == "ready\n"
        for step in range(1, saves + 1):
            for name in ("word.pt", "word.safetensors"):
                embedding = Embedding("word", {"clip_l": torch.full((2, 768), float(step))}, step=step)
                write_embedding(embedding, folder / name)
        (tmp_path / "enough").touch()
        said = json.loads(reader.stdout.read())
    assert said["wrong"] == []
    assert said["steps"] > min(10, saves / 10)


def test_a_large_file_that_is_replaced_while_it_is_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tensors are read when they are asked for: never with the header of one file and the numbers of another."""
    monkeypatch.setattr(safetensors_file, "READ_AT_ONCE", 0)
    path = tmp_path / "word.safetensors"
    write_embedding(Embedding("word", {"clip_l": torch.zeros(2, 768)}, step=1), path)
    tensors, _ = safetensors_file.read_safetensors(path)
    assert torch.equal(tensors["emb_params"].read(), torch.zeros(2, 768))
    write_embedding(Embedding("word", {"clip_l": torch.ones(2, 768)}, step=2), path)
    with refused("formats.replaced_meanwhile", FormatError):
        tensors["emb_params"].read()
