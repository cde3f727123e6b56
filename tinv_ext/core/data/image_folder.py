"""Which files of a folder may be images, and which of its sub-folders hold some."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message

_NOT_IMAGES = {
    ".txt",
    ".caption",
    ".tags",
    ".json",
    ".jsonl",
    ".csv",
    ".toml",
    ".yaml",
    ".yml",
    ".md",
    ".npz",
    ".npy",
    ".db",
}
_NOT_IMAGES |= {".ini", ".safetensors", ".pt", ".zip", ".html", ".log"}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".avif", ".jxl")
NOT_SHOWN = ("-masklabel", "-condlabel")
"""Ends of names of files that belong to an image: its mask, its condition (OneTrainer)."""
_OF_A_RUN = ("config.json", "status.json")  # both are in the folder of each
_THUMBNAIL, _EMBEDDINGS = ".preview.png", (".pt", ".safetensors", ".bin")
_LOOKED_INTO, _FILES_SEEN = 100, 1000  # sub-folders, and files of each, that are looked at


def files_in(folder: Path, recursive: bool = False, without: Path | None = None) -> Iterator[Path]:
    """The files of a folder that may be images; with those below it if `recursive`. `InputError` if it is no folder.

    Not masks: files that are named so, and what is in the folder `without`, where that is one of its sub-folders. Nor
    what runs have drawn: the folders of runs below it are left out, and so are the thumbnails of embeddings.
    """
    if not folder.exists():
        raise InputError(
            message(
                "images.folder_missing", 'The image folder "{folder}" does not exist. Check the path.', folder=folder
            )
        )
    if not folder.is_dir():
        raise InputError(
            message(
                "images.folder_is_file",
                '"{folder}" is a file, not a folder. Give the folder that holds the images.',
                folder=folder,
            )
        )
    for path in _files(folder, recursive, without):
        if not _is_beside(path):
            yield path


def files_beside(folder: Path, recursive: bool = False, without: Path | None = None) -> Iterator[Path]:
    """The other files of a folder, without hidden ones; `InputError` if it cannot be read."""
    return filter(_is_beside, _files(folder, recursive, without))


def _is_beside(path: Path) -> bool:
    return path.stem.endswith(NOT_SHOWN) or path.suffix.lower() in _NOT_IMAGES


def _files(folder: Path, recursive: bool, without: Path | None) -> Iterator[Path]:
    """All files of a folder but hidden ones and those below `without`; links to images that are not there, too."""
    try:
        entries = list(folder.iterdir())
        if recursive:
            entries = [Path(at, name) for at, _, names in _walk(folder) for name in names]
    except OSError as error:
        raise InputError(
            message(
                "images.folder_unreadable",
                'The image folder "{folder}" cannot be read ({reason}). Check its permissions.',
                folder=folder,
                reason=error.strerror,
            )
        ) from error
    below = without if without is not None and folder in without.parents else None
    for path in entries:
        if path.name.startswith(".") or (below is not None and below in path.parents):
            continue
        if recursive and _is_thumbnail(path):
            continue
        if path.is_file() or (_called_as_image(path.name) and _leads_nowhere(path)):
            yield path


def _is_thumbnail(path: Path) -> bool:
    """Whether it shows what an embedding beside it draws."""
    if not path.name.endswith(_THUMBNAIL):
        return False
    stem = path.name.removesuffix(_THUMBNAIL)
    return any(path.with_name(stem + suffix).is_file() for suffix in _EMBEDDINGS)


def runs_below(folder: Path) -> list[str]:
    """The folders of runs in a folder or below it, by their paths from there."""
    below = (Path(at, name) for at, folders, _ in _walk(folder, runs=True) for name in folders)
    return [path.relative_to(folder).as_posix() for path in below if _is_run(path)]


def _is_run(folder: str | Path) -> bool:
    return all(os.path.isfile(os.path.join(folder, name)) for name in _OF_A_RUN)


def _leads_nowhere(path: Path) -> bool:
    """Whether it is a link to what is not there: of data that was not fetched, say, or of a disk that was moved."""
    return path.is_symlink() and not path.exists()


def folders_below(folder: Path) -> tuple[str, ...]:
    """Sub-folders with images in them, as far as the first files tell; links are left out, as `recursive` does."""
    below = (path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    names = sorted(path.name for path in below if not path.name.startswith("."))
    return tuple(name for name in names[:_LOOKED_INTO] if _images_below(folder / name))


def holds_images(folder: Path) -> bool:
    """Whether a folder has files, not in its sub-folders, that are called as images are; not if it cannot be read."""
    try:
        return any(_called_as_image(path.name) and path.is_file() for path in folder.iterdir())
    except OSError:
        return False


def images_in(folder: Path) -> list[Path]:
    """The files of a folder, not in its sub-folders, that are called as images are; none if it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if _called_as_image(path.name) and path.is_file())
    except OSError:
        return []


def folders_with_images(folder: Path) -> list[Path]:
    """Sub-folders that hold images themselves, by name, but no links; none if the folder cannot be read."""
    try:
        below = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []
    return [path for path in sorted(below) if not path.name.startswith(".") and holds_images(path)]


def _called_as_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def _images_below(folder: Path) -> bool:
    files = (name for _, _, names in islice(_walk(folder), _LOOKED_INTO) for name in names)
    return any(name.lower().endswith(IMAGE_SUFFIXES) for name in islice(files, _FILES_SEEN))


def _walk(folder: Path, runs: bool = False) -> Iterator[tuple[str, list[str], list[str]]]:
    """Folders from the top down, but none whose name starts with a dot, and no folders of runs but with `runs`; links
    to folders are not followed."""
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if not runs:
            folders[:] = [name for name in folders if not _is_run(os.path.join(at, name))]
        yield at, folders, names
