"""Embeddings from one file into another: what the command line and the page both do with finished files.

Nothing is overwritten unasked, and the word inside a file is always the one by which a loader finds it: the file's stem
for the WebUI, Forge and ComfyUI, the key for diffusers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError, InputError, NumericError
from tinv_ext.core.formats import (
    DEFAULTS,
    FOLDER,
    FORMATS,
    read_contents,
    read_embedding,
    suffix_of,
    usual_format,
    write_embedding,
)
from tinv_ext.core.formats.png import carried_picture, save_png_with_embedding
from tinv_ext.core.names import name_problems
from tinv_ext.library.inspect import printable
from tinv_ext.run.run_folder import EMBEDDING_SUFFIXES

BY_KEY = ("diffusers", "diffusers-bin", FOLDER)
"""Formats whose loader goes by the key inside, whatever the file is called."""

FORMAT_NAMES = (*FORMATS, FOLDER)
"""Every format that can be wished for."""

WITHOUT_FACTS = ("diffusers-bin",)
MAX_PIXELS = 1 << 24


@dataclass(frozen=True)
class ConvertOptions:
    """How an embedding is to be written.

    `to` is a format (empty: by the target's suffix, into a folder the family's usual one); `name` the word (empty: the
    target's stem, into a folder the embedding's own); `picture` what a `png` shows (empty: the source's own picture, or
    a plain one). `author` and `license` become facts of the file.
    """

    to: str = ""
    name: str = ""
    picture: Path | None = None
    author: str = ""
    license: str = ""
    overwrite: bool = False


@dataclass(frozen=True)
class Written:
    """What was written where, with a sentence for everything that a person should know of it."""

    path: Path
    embedding: Embedding
    notices: tuple[str, ...] = ()


def open_embedding(path: Path, pick: str | None = None) -> tuple[Embedding, list[str]]:
    """The embedding of a file or folder of any format, `pick` choosing from a file of several, and notices about it.

    Raises InputError for whatever is wrong with it.
    """
    try:
        contents = read_contents(path)
        embedding = read_embedding(path, name=pick if len(contents.embeddings) > 1 else None)
    except (FormatError, NumericError) as error:
        raise InputError(printable(str(error))) from error
    if pick and embedding.name != pick:
        raise InputError(f'{path.name} holds one embedding, "{embedding.name}", and no "{pick}": leave the choice out.')
    left_out = contents.embeddings[0].left_out if len(contents.embeddings) == 1 else ()
    more = printable(", ".join(left_out[:5]))
    notices = [f"{path.name} also holds {more}, which belongs to no prompt and is left out."]
    other = _other_half(path)
    halves = [f"{path.name} is one of two encoders' files: give its folder {path.parent} to have both."]
    return embedding, (notices if left_out else []) + (halves if other else [])


def _other_half(path: Path) -> bool:
    """Whether the file is one of diffusers' pair for SDXL."""
    stem = {"learned_embeds": "learned_embeds_2", "learned_embeds_2": "learned_embeds"}.get(path.stem)
    return path.is_file() and stem is not None and path.with_name(stem + path.suffix).is_file()


def convert(source: Path, target: Path, wish: ConvertOptions, pick: str | None = None) -> Written:
    """Write the embedding in `source` to the file or into the folder `target`. InputError with every problem."""
    embedding, notices = open_embedding(source, pick)
    if not wish.picture and source.is_file() and read_contents(source).container.startswith("picture"):
        wish = replace(wish, picture=source)
    written = write_new(embedding, target, wish)
    return replace(written, notices=(*notices, *written.notices))


def write_new(embedding: Embedding, target: Path, wish: ConvertOptions) -> Written:
    """Write `embedding` to the file or into the folder `target` as wished. InputError with every problem, nothing
    written."""
    chosen, path, name = _place(embedding, target, wish)
    problems = [] if chosen == FOLDER else name_problems(name)
    if path.exists() and not wish.overwrite:
        problems.append(f'"{path}" is there already: choose another name, or have it overwritten (overwrite).')
    if problems:
        raise InputError(problems)
    said = {"author": wish.author.strip(), "license": wish.license.strip()}
    facts = {**embedding.facts, **{key: value for key, value in said.items() if value}}
    named = replace(embedding, name=name, facts=facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    if chosen == "png" and wish.picture:
        picture, texts = _picture(wish.picture)
        save_png_with_embedding(picture, named, path, text=texts)
    else:
        write_embedding(named, path, format=chosen)
    return Written(path, named, tuple(_notices(named, path, chosen)))


def _place(embedding: Embedding, target: Path, wish: ConvertOptions) -> tuple[str, Path, str]:
    """Format, path and word for the target."""
    if wish.to and wish.to not in FORMAT_NAMES:
        raise InputError(f'There is no format "{wish.to}"; choose one of: {", ".join(FORMAT_NAMES)}.')
    own = wish.name or embedding.name
    if wish.to == FOLDER:
        return FOLDER, target, own
    if target.is_dir():
        chosen = wish.to or usual_format(embedding)
        return chosen, target / f"{own}{suffix_of(chosen)}", own
    chosen = wish.to or DEFAULTS.get(target.suffix.lower(), "")
    if not chosen:
        raise InputError(
            f'"{target}" tells no format: end it with {", ".join(DEFAULTS)}, name the format, or give a folder that '
            "exists."
        )
    path = _with_suffix(target, chosen)
    generic = re.fullmatch(r"learned_embeds(_2)?(-steps-\d+)?", path.stem) is not None
    if chosen in BY_KEY and (wish.name or generic):
        return chosen, path, own
    if wish.name and wish.name != path.stem:
        raise InputError(
            f'The word would be "{wish.name}" but the file "{path.name}": programs find it by the name of its file, '
            f"so call it {wish.name}{path.suffix}."
        )
    return chosen, path, path.stem


def _with_suffix(target: Path, chosen: str) -> Path:
    """`target` ending as its format must; a suffix that belongs to another format is refused."""
    suffix = suffix_of(chosen)
    if target.suffix.lower() == suffix:
        return target
    if target.suffix.lower() in EMBEDDING_SUFFIXES:
        raise InputError(f'The format {chosen} is written as {suffix}, not as "{target.name}": change one of them.')
    return target.with_name(target.name + suffix)


def _picture(path: Path) -> tuple[Image.Image, dict[str, str]]:
    """A picture to carry an embedding: without one that it carries already, with its other texts."""
    try:
        return carried_picture(path)
    except FormatError:
        pass  # not one that could carry something, such as a JPEG
    except OSError as error:
        raise InputError(f'The picture "{path}" cannot be read: {error.strerror or error}.') from error
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise InputError(f'The picture "{path}" has {picture.width}×{picture.height} pixels: give a smaller.')
            return picture.convert("RGB"), {}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f'The picture "{path}" cannot be opened ({error}): give another.') from error


def _notices(embedding: Embedding, path: Path, chosen: str) -> list[str]:
    notices = []
    if chosen in WITHOUT_FACTS and (embedding.facts or embedding.step is not None):
        notices.append(f"The format {chosen} holds the word and its vectors only: the facts of the run are not in it.")
    twins = [
        other.name
        for other in sorted(path.parent.iterdir())
        if other != path and other.stem == path.stem and other.suffix.lower() in EMBEDDING_SUFFIXES
    ]
    if twins and chosen != FOLDER:
        notices.append(
            f"{', '.join(twins)} lies beside {path.name} under the same word: in the WebUI's folder only one of them "
            "would count."
        )
    return notices
