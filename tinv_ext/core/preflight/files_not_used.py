"""Files beside the images that a run makes nothing of: captions and masks of no image, and what is no image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tinv_ext.core.data.caption_files import SUFFIXES, TABLES, CaptionFiles
from tinv_ext.core.data.image_folder import NOT_SHOWN, files_beside, files_in, runs_below
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.subsets import PreparedSubset

_NAMED = 5
_OF_SYSTEMS = ("thumbs.db", "desktop.ini")


def on_files_not_used(subset: PreparedSubset) -> Iterator[Message]:
    """A sentence for each reason, with the first files that it is about."""
    folder, config = subset.scan.folder, subset.config
    if not folder.is_dir():
        return
    masks = path_given(config.mask_folder) if config.mask_folder.strip() else None
    extension = f".{config.caption_extension.strip().lower().lstrip('.')}" if config.caption_extension.strip() else ""
    possible = [*files_in(folder, config.recursive, masks)]
    images = [path for path in possible if not extension or path.suffix.lower() != extension]
    owners = {_key(path.parent, part) for path in images for part in (path.stem, path.name)}
    used = {path_given(config.in_json).resolve()} if config.in_json.strip() else set()
    orphans: dict[str, list[str]] = {"captions": [], "extensions": [], "masks": [], "others": []}
    own_captions = (path for path in possible if extension and path.suffix.lower() == extension)
    for path in sorted({*files_beside(folder, config.recursive, masks), *own_captions}):
        kind = _kind(path, owners, extension)
        if kind and path.resolve() not in used:
            orphans[kind].append(subset.scan.name(path))
    yield from _told(orphans, config.caption_extension)
    if not used:
        yield from _tables_of_no_image(subset)
    if config.recursive and (runs := runs_below(folder)):
        yield message(
            "preflight.runs_below",
            "What {count:run|runs} drew or saved in sub-folders ({files}) is not used as images or captions.",
            **counted(runs),
        )


def _tables_of_no_image(subset: PreparedSubset) -> Iterator[Message]:
    """That a table of captions names none of the images: it would be thought to be read."""
    folder, files = subset.scan.folder, CaptionFiles(subset.scan.folder)
    tables = [path for path in files_beside(folder, subset.config.recursive, None) if path.name.lower() in TABLES]
    named = {table for image in subset.scan.pictures for table, _ in files.in_tables(image.path)} if tables else set()
    for table in sorted({*tables} - named):
        yield message(
            "preflight.table_of_no_image",
            'The captions in "{file}" are not used: it names none of the images. It needs a column file_name with '
            "their names, and a column text with the captions.",
            file=subset.scan.name(table),
        )


def _key(folder: Path, name: str) -> tuple[Path, str]:
    return folder, name.lower()


def _kind(path: Path, owners: set[tuple[Path, str]], extension: str) -> str:
    """Why a file is not used; empty where it is, or where that is told elsewhere."""
    suffix, name = path.suffix.lower(), path.name.lower()
    if name in TABLES or name in _OF_SYSTEMS:
        return ""
    if path.stem.endswith(NOT_SHOWN):
        image = path.stem.rpartition("-")[0]
        return "" if _key(path.parent, image) in owners else "masks"
    if suffix not in (*SUFFIXES, extension):
        return "others"
    if _key(path.parent, path.stem) not in owners:
        return "captions"
    return "" if extension in ("", suffix) else "extensions"


def _told(files: dict[str, list[str]], extension: str) -> Iterator[Message]:
    if found := files["captions"]:
        yield message(
            "preflight.captions_of_no_image",
            "{count:caption file has|caption files have} the name of no image ({files}). A caption is called as its "
            "image: a.txt for a.png.",
            **counted(found),
        )
    if found := files["extensions"]:
        yield message(
            "preflight.captions_of_another_extension",
            "{count:caption file is|caption files are} not read ({files}), because caption_extension is {extension}.",
            **counted(found),
            extension=extension,
        )
    if found := files["masks"]:
        yield message(
            "preflight.masks_of_no_image",
            "{count:mask has|masks have} the name of no image ({files}).",
            **counted(found),
        )
    if found := files["others"]:
        yield message(
            "preflight.files_not_used",
            "{count:other file is|other files are} not used, not being an image or a caption ({files}).",
            **counted(found),
        )


def counted(names: Sequence[str]) -> dict[str, object]:
    """The values `count` and `files` of a sentence: how many, and the first of the names."""
    return {"count": len(names), "files": ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")}
