"""The file formats of embeddings: every one that programs write, read safely and written exactly."""

from __future__ import annotations

from tinv_ext.core.formats.layouts import FileContents, StoredEmbedding
from tinv_ext.core.formats.read import problem_of, read_all, read_contents, read_embedding, read_words
from tinv_ext.core.formats.write import DEFAULTS, FOLDER, FOLDERS, FORMATS, suffix_of, usual_format, write_embedding

__all__ = [
    "DEFAULTS",
    "FOLDER",
    "FOLDERS",
    "FORMATS",
    "FileContents",
    "StoredEmbedding",
    "problem_of",
    "read_all",
    "read_contents",
    "read_embedding",
    "read_words",
    "suffix_of",
    "usual_format",
    "write_embedding",
]
