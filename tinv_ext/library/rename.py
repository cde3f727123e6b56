"""The name inside an embedding's file, changed without a change to anything else in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.formats import FileContents, read_contents, write_embedding
from tinv_ext.core.formats.image_read import without_embedding
from tinv_ext.core.formats.image_write import save_png_with_embedding
from tinv_ext.core.formats.read import IMAGE
from tinv_ext.core.messages import message
from tinv_ext.library.convert import open_embedding

_FORMAT_OF_LAYOUT = {"A1111": "a1111", "kohya": "kohya", "OneTrainer": "onetrainer"}


def renaming(file: Path, name: str) -> Callable[[Path], None] | None:
    """What writes the embedding in `file` to a path, under `name`; None for one that goes by its file's name alone.

    Raises InputError where it is in a layout that is not written here.
    """
    try:
        contents = read_contents(file)
    except TinvError as error:
        raise InputError(error.problems) from error
    if len(contents.embeddings) != 1 or contents.embeddings[0].label is None:
        return None
    embedding, notices = open_embedding(file)
    chosen = _format_of(contents)
    if chosen is None or notices:
        raise InputError(
            message(
                "library.rename_layout",
                "{file} stores its name in a layout that cannot be written here ({layout}, {container}). Convert it "
                "first.",
                file=file.name,
                layout=contents.layout,
                container=contents.container,
            )
        )
    renamed = replace(embedding, name=name)
    if chosen != "png":
        return lambda target: write_embedding(renamed, target, format=chosen)
    image, texts = without_embedding(file)
    return lambda target: save_png_with_embedding(image, renamed, target, text=texts)


def _format_of(contents: FileContents) -> str | None:
    """The format in which what was read is written again."""
    if contents.container.startswith(IMAGE):
        return "png"
    in_safetensors = contents.container == "safetensors"
    if contents.layout == "diffusers":
        return "diffusers" if in_safetensors else "diffusers-bin"
    if contents.layout.startswith("by encoder"):
        return "safetensors" if in_safetensors and len(contents.embeddings[0].vectors) > 1 else None
    return _FORMAT_OF_LAYOUT.get(contents.layout)
