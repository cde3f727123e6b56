"""Writing a file so that readers, a crash or a full disk see either the old content or the new, never a half."""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tinv_ext.core.errors import HostError, NotNowError

ROOM = 16 * 2**20
"""Bytes that should be free before a write to a full disk is tried again."""
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows' error 112 becomes ENOSPC
_TEMP = re.compile(r"\.[0-9a-f]{8}\.tmp$")
_LEFT_BEHIND = 600.0  # seconds after which no living program still writes a temporary file
PAUSES = (0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.35, 0.5, 0.6)
"""Seconds between the attempts to replace a file that somebody holds open: two seconds in all."""


def replace_file(temp: Path, target: Path) -> None:
    """Move `temp` over `target` in one step.

    On Windows this is refused (PermissionError) while any program has the target open, as virus scanners and the WebUI
    do for moments: it is tried again for about two seconds, then a HostError says so. `temp` is left where it is.
    """
    for pause in (*PAUSES, None):
        try:
            os.replace(temp, target)
            return
        except OSError as error:
            if pause is None or not isinstance(error, PermissionError):
                raise HostError(
                    f"{target} could not be replaced ({error.strerror}): another program may hold it open, or it is "
                    "write-protected. Close that program or choose another place, then save again."
                ) from error
            time.sleep(pause)


@contextmanager
def atomic_write(target: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `target`; when the block ends well, flush it to disk and move it into place.

    If the block raises, the temporary file is removed and `target` stays as it was. A link is followed, the file that
    it points to is replaced. The folder must exist. Raises HostError where the system
    refuses, NotNowError where the disk is full.
    """
    place = Path(os.path.realpath(target))
    temp = place.with_name(f".{place.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        file = open(temp, "xb")  # noqa: SIM115 (closed below, before the file is moved)
    except OSError as error:
        raise _refused(target, error, "could not be made", "check the folder and its rights") from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        replace_file(temp, place)
    except OSError as error:
        raise _refused(target, error, "could not be written", "check the disk's free space and the rights") from error
    finally:
        with suppress(OSError):  # held by a virus scanner, say: `sweep` takes it later
            temp.unlink(missing_ok=True)


def atomic_copy(source: Path, target: Path) -> None:
    """Copy a file with its times, whole or not at all. Raises as `atomic_write`, OSError if `source` cannot be read."""
    with source.open("rb") as old, atomic_write(target) as file:
        shutil.copyfileobj(old, file)
    shutil.copystat(source, target)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are not there. Raises as `atomic_write`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(folder, error, "could not be made", "check what is in its place and the rights") from error


def sweep(folder: Path, stem: str = "") -> None:
    """Remove what killed writers left in `folder` at least ten minutes ago, of files whose names begin with `stem`."""
    for left in folder.glob(f".{glob.escape(stem)}*.tmp"):
        with suppress(OSError):  # gone meanwhile, or held: there is a next time
            if _TEMP.search(left.name) and time.time() - left.stat().st_mtime > _LEFT_BEHIND:
                left.unlink()


def _refused(target: Path, error: OSError, what: str, remedy: str) -> HostError:
    if error.errno not in _FULL:
        return HostError(f"{target} {what} ({error.strerror or error}): {remedy}.")
    return NotNowError(
        f"{target} {what}, because the disk is full: free {ROOM // 2**20} MB there.", lambda: _has_room(target.parent)
    )


def _has_room(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free >= ROOM
    except OSError:  # the folder is gone: the next write says so
        return True
