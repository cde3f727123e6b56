"""Embeddings from one file into another: what the command line and the page both do with finished files.

Nothing is overwritten unasked, and the name inside a file is always the one by which a loader finds it: the file's stem
for the WebUI, Forge and ComfyUI, the key for diffusers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError, InputError, NumericError
from tinv_ext.core.families import SDXL
from tinv_ext.core.formats import (
    DEFAULTS,
    FOLDERS,
    FORMATS,
    read_contents,
    read_embedding,
    suffix_of,
    usual_format,
    write_embedding,
)
from tinv_ext.core.formats.diffusers_folder import PAIR, is_generic_stem, other_half
from tinv_ext.core.formats.image_pixels import MAX_PIXELS
from tinv_ext.core.formats.image_read import without_embedding
from tinv_ext.core.formats.image_write import save_png_with_embedding
from tinv_ext.core.formats.read import IMAGE
from tinv_ext.core.messages import message
from tinv_ext.core.names import name_problems
from tinv_ext.core.printable import printable
from tinv_ext.core.suffixes import EMBEDDING_SUFFIXES

BY_KEY = ("diffusers", "diffusers-bin", *FOLDERS)
"""Formats whose loader goes by the key inside, whatever the file is called."""

FORMAT_NAMES = (*FORMATS, *FOLDERS)
"""Every format that can be asked for."""

WITHOUT_FACTS = ("diffusers-bin", "diffusers-folder-bin")
_SECOND = SDXL.encoders[1][0]  # without the first it belongs to no model


@dataclass(frozen=True)
class ConvertOptions:
    """How an embedding is to be written.

    `to` is a format (empty: by the target's suffix, into a folder the family's usual one); `name` the embedding's
    (empty: the target's stem, into a folder its own); `image` what a `png` shows (empty: the source's own image, or a
    plain one). `author` and `license` become facts of the file. Its numbers are in `precision`, one of PRECISIONS.
    """

    to: str = ""
    name: str = ""
    image: Path | None = None
    author: str = ""
    license: str = ""
    overwrite: bool = False
    precision: str = "float32"


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
        raise InputError(map(printable, error.problems)) from error
    if pick and embedding.name != pick:
        raise InputError(
            message(
                "library.pick_of_one",
                '{file} has only one embedding, "{name}", and none called "{pick}". Choose none.',
                file=path.name,
                name=embedding.name,
                pick=pick,
            )
        )
    notices: list[str] = []
    left_out = contents.embeddings[0].left_out if len(contents.embeddings) == 1 else ()
    if left_out:
        left = message(
            "library.left_out",
            "{file} also has {keys:, }, which no prompt uses; that is left out.",
            file=path.name,
            keys=left_out[:5],
        )
        notices.append(printable(left))
    other = other_half(path) if path.is_file() else None
    if other and contents.layout == PAIR:
        notices.append(
            message(
                "library.half",
                "{file} is for one of two text encoders. The other half was taken from {other} in {folder}.",
                file=path.name,
                other=other.name,
                folder=path.parent,
            )
        )
    elif (other and len(contents.embeddings) == 1) or set(embedding.vectors) == {_SECOND}:
        notices.append(
            message(
                "library.only_half",
                "{file} is for only one of SDXL's two text encoders, and no file beside it has the same number of "
                "vectors for the other one. SDXL cannot use it alone.",
                file=path.name,
            )
        )
    return embedding, notices


def convert(source: Path, target: Path, options: ConvertOptions, pick: str | None = None) -> Written:
    """Write the embedding in `source` to the file or into the folder `target`. InputError with every problem."""
    embedding, notices = open_embedding(source, pick)
    if not options.image and source.is_file() and read_contents(source).container.startswith(IMAGE):
        options = replace(options, image=source)
    written = write_new(embedding, target, options)
    return replace(written, notices=(*notices, *written.notices))


def write_new(embedding: Embedding, target: Path, options: ConvertOptions) -> Written:
    """Write `embedding` to the file or into the folder `target`. InputError with every problem, nothing written."""
    chosen, path, name = _destination(embedding, target, options)
    problems = [] if chosen in FOLDERS else name_problems(name)
    if path.exists() and not options.overwrite:
        problems.append(
            message(
                "library.target_exists",
                '"{path}" already exists. Choose another name, or overwrite it (overwrite).',
                path=path,
            )
        )
    if problems:
        raise InputError(problems)
    added = {"author": options.author.strip(), "license": options.license.strip()}
    facts = {**embedding.facts, **{key: value for key, value in added.items() if value}}
    named = _rounded(replace(embedding, name=name, facts=facts), options.precision)
    path.parent.mkdir(parents=True, exist_ok=True)
    if chosen == "png" and options.image:
        image, texts = _open_image(options.image)
        save_png_with_embedding(image, named, path, text=texts)
    else:
        write_embedding(named, path, format=chosen)
    return Written(path, named, tuple(_notices(named, path, chosen)))


def _rounded(embedding: Embedding, precision: str) -> Embedding:
    """The embedding with the numbers of a precision. InputError where that cannot hold them."""
    try:
        return replace(embedding, precision=precision)
    except NumericError as error:
        raise InputError(error.problems) from error


def _destination(embedding: Embedding, target: Path, options: ConvertOptions) -> tuple[str, Path, str]:
    """Format, path and name for the target."""
    if options.to and options.to not in FORMAT_NAMES:
        raise InputError(
            message(
                "library.unknown_format",
                'There is no format "{format}". Choose one of {formats:, }.',
                format=options.to,
                formats=list(FORMAT_NAMES),
            )
        )
    own = options.name or embedding.name
    if options.to in FOLDERS:
        return options.to, target, own
    if target.is_dir():
        chosen = options.to or usual_format(embedding.vectors)
        return chosen, target / f"{own}{suffix_of(chosen)}", own
    chosen = options.to or DEFAULTS.get(target.suffix.lower(), "")
    if not chosen:
        raise InputError(
            message(
                "library.no_format",
                '"{target}" does not tell the format. End it with one of {suffixes:, }, choose a format, or give a '
                "folder that exists.",
                target=target,
                suffixes=list(DEFAULTS),
            )
        )
    path = _with_suffix(target, chosen)
    if chosen in BY_KEY and (options.name or is_generic_stem(path.stem)):
        return chosen, path, own
    if options.name and options.name != path.stem:
        raise InputError(
            message(
                "library.two_names",
                'The embedding would be called "{name}", but its file "{file}". Programs find it by the name of the '
                "file, so write it to {wanted}.",
                name=options.name,
                file=path.name,
                wanted=f"{options.name}{path.suffix}",
            )
        )
    return chosen, path, path.stem


def _with_suffix(target: Path, chosen: str) -> Path:
    """`target` ending as its format must; a suffix that belongs to another format is refused."""
    suffix = suffix_of(chosen)
    if target.suffix.lower() == suffix:
        return target
    if target.suffix.lower() in EMBEDDING_SUFFIXES:
        raise InputError(
            message(
                "library.wrong_suffix",
                'The format {format} has the suffix {suffix}, but the file is "{file}". Change one of them.',
                format=chosen,
                suffix=suffix,
                file=target.name,
            )
        )
    return target.with_name(target.name + suffix)


def _open_image(path: Path) -> tuple[Image.Image, dict[str, str]]:
    """An image to carry an embedding: without one that it carries already, with its other texts."""
    try:
        return without_embedding(path)
    except FormatError:
        pass  # not one that could carry something, such as a JPEG
    except OSError as error:
        raise InputError(
            message(
                "library.image_unreadable",
                'The image "{path}" cannot be read ({error}).',
                path=path,
                error=error.strerror or str(error),
            )
        ) from error
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(
                    message(
                        "library.image_too_large",
                        'The image "{path}" has {width}×{height} pixels. Give a smaller one.',
                        path=path,
                        width=image.width,
                        height=image.height,
                    )
                )
            return image.convert("RGB"), {}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            message(
                "library.image_damaged",
                'The image "{path}" cannot be opened ({error}). Give another one.',
                path=path,
                error=str(error),
            )
        ) from error


def _notices(embedding: Embedding, path: Path, chosen: str) -> list[str]:
    notices: list[str] = []
    if chosen in WITHOUT_FACTS and (embedding.facts or embedding.step is not None):
        notices.append(
            message(
                "library.without_facts",
                "The format {format} holds only the name and the vectors; the details of the run were not saved.",
                format=chosen,
            )
        )
    twins = [
        other.name
        for other in sorted(path.parent.iterdir())
        if other != path and other.stem == path.stem and other.suffix.lower() in EMBEDDING_SUFFIXES
    ]
    if twins and chosen not in FOLDERS:
        notices.append(
            message(
                "library.twins",
                "{file} has the same name as {twins:, } beside it. In the WebUI's folder only one of them would be "
                "loaded.",
                file=path.name,
                twins=twins,
            )
        )
    return notices
