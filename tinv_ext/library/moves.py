"""Moving files that belong together: all of them or none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tinv_ext.core.errors import HostError
from tinv_ext.core.messages import message


@contextmanager
def moved(moves: Sequence[tuple[Path, Path]]) -> Iterator[None]:
    """Move each file to its new path; if that fails, or what is done inside, every one is moved back."""
    done: list[tuple[Path, Path]] = []
    try:
        for old, new in moves:
            shutil.move(str(old), str(new))
            done.append((old, new))
        yield
    except BaseException as error:
        for old, new in reversed(done):
            shutil.move(str(new), str(old))
        if isinstance(error, OSError):
            raise HostError(
                message(
                    "library.move_failed",
                    "A file could not be moved ({error}). Nothing was changed.",
                    error=error.strerror or str(error),
                )
            ) from error
        raise


def holds_anything(folder: Path) -> bool:
    """Whether a folder is there and has something in it."""
    try:
        return any(folder.iterdir())
    except OSError:
        return False


def move(moves: Sequence[tuple[Path, Path]]) -> None:
    """Move each file to its new path, or none."""
    with moved(moves):
        pass
