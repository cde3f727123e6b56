"""Embeddings and files: every format that programs write an embedding into, read safely and written exactly."""

from __future__ import annotations

from tinv_ext.core.files.atomic import atomic_copy, atomic_write, make_folder, replace_file, sweep
from tinv_ext.core.files.layouts import Contents, Found
from tinv_ext.core.files.reading import read_all, read_contents, read_embedding
from tinv_ext.core.files.writing import DEFAULTS, FOLDER, FORMATS, suffix_of, usual_format, write_embedding

__all__ = [
    "DEFAULTS",
    "FOLDER",
    "FORMATS",
    "Contents",
    "Found",
    "atomic_copy",
    "atomic_write",
    "make_folder",
    "read_all",
    "read_contents",
    "read_embedding",
    "replace_file",
    "suffix_of",
    "sweep",
    "usual_format",
    "write_embedding",
]
