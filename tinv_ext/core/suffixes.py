"""The suffixes by which programs, and we in a folder of theirs, take a file for an embedding."""

from __future__ import annotations

from pathlib import Path

TENSOR_SUFFIXES = (".pt", ".bin", ".safetensors")
RUN_SUFFIXES = (".pt", ".safetensors")  # what a run writes
IMAGE_SUFFIXES = (".png", ".webp", ".jxl", ".avif")
EMBEDDING_SUFFIXES = (*TENSOR_SUFFIXES, *IMAGE_SUFFIXES)
PREVIEW = ".preview"
"""Ends the stem of a thumbnail: `<name>.preview.png` is never an embedding."""


def may_be_embedding(path: Path) -> bool:
    """Whether a file's name is that of an embedding; an image need not carry one."""
    return path.suffix.lower() in EMBEDDING_SUFFIXES and not path.stem.lower().endswith(PREVIEW)
