"""Writing a file so that readers, a crash or a full disk see either the old content or the new, never a half."""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tinv_ext.core.errors import HostError, NotNowError
from tinv_ext.core.messages import Message, message

ROOM = 16 * 2**20
"""Bytes that should be free before a write to a full disk is tried again."""
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows' error 112 becomes ENOSPC
_TEMP = re.compile(r"\.[0-9a-f]{8}\.tmp$")
_LEFT_BEHIND = 600.0  # seconds after which no living program still writes a temporary file
_SWEPT: dict[Path, float] = {}  # when this process last swept a folder
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
                    message(
                        "files.not_replaced",
                        "{path} could not be replaced ({reason}): another program may have it open, or it is "
                        "write-protected. Close that program or choose another folder, then save again.",
                        path=target,
                        reason=error.strerror or str(error),
                    )
                ) from error
            time.sleep(pause)


@contextmanager
def atomic_write(target: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `target`; when the block ends well, flush it to disk and move it into place.

    If the block raises, the temporary file is removed and `target` stays as it was. A link is followed, the file that
    it points to is replaced; a folder, a device or a pipe never is. The folder must exist; what killed writers left
    there is swept. Raises HostError where the system refuses, NotNowError where the disk is full.
    """
    real = Path(os.path.realpath(target))
    if occupied := not_a_file(real):
        raise HostError(occupied)
    _sweep_now_and_then(real.parent)
    temp = real.with_name(f".{real.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        file = open(temp, "xb")  # noqa: SIM115 (closed below, before the file is moved)
    except OSError as error:
        raise _refused(target, error, _not_created(target, error)) from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        replace_file(temp, real)
    except OSError as error:
        not_written = message(
            "files.not_written",
            "{path} could not be written ({reason}): check the free disk space and the permissions.",
            path=target,
            reason=error.strerror or str(error),
        )
        raise _refused(target, error, not_written) from error
    finally:
        with suppress(OSError):  # held by a virus scanner, say: `sweep` takes it later
            temp.unlink(missing_ok=True)


def not_a_file(target: Path) -> Message | None:
    """Why a file cannot be written there, where something else is: a folder, a device or a pipe."""
    try:
        mode = target.stat().st_mode
    except (OSError, ValueError):  # nothing is there, or no system has such a path: the write says so
        return None
    if stat.S_ISREG(mode):
        return None
    return message(
        "files.not_a_file",
        '"{path}" is {kind}. Choose another name for the file.',
        path=target,
        kind=_FOLDER if stat.S_ISDIR(mode) else _DEVICE,
    )


_FOLDER, _DEVICE = message("files.kind_folder", "a folder"), message("files.kind_device", "a device or a pipe")


def atomic_copy(source: Path, target: Path) -> None:
    """Copy a file with its times, whole or not at all. Raises as `atomic_write`, OSError if `source` cannot be read."""
    with source.open("rb") as old, atomic_write(target) as file:
        shutil.copyfileobj(old, file)
    shutil.copystat(source, target)


def make_folder(folder: Path) -> None:
    """Create a folder, and those above it, if need be. Raises as `atomic_write`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(folder, error, _not_created(folder, error)) from error


def sweep(folder: Path, stem: str = "") -> None:
    """Remove what killed writers left in `folder` at least ten minutes ago, of files whose names begin with `stem`."""
    with suppress(OSError):  # a folder that cannot be listed
        for left in list(folder.glob(f".{glob.escape(stem)}*.tmp")):
            _remove_left_behind(left)


def _remove_left_behind(left: Path) -> None:
    with suppress(OSError):  # gone meanwhile, or held: there is a next time
        if _TEMP.search(left.name) and time.time() - left.stat().st_mtime > _LEFT_BEHIND:
            left.unlink()


def _sweep_now_and_then(folder: Path) -> None:
    """Sweep a folder that is about to be written to, unless that was done a moment ago."""
    now = time.monotonic()
    if now - _SWEPT.get(folder, -_LEFT_BEHIND) >= _LEFT_BEHIND:
        _SWEPT[folder] = now
        sweep(folder)


def _not_created(path: Path, error: OSError) -> Message:
    return message(
        "files.not_created",
        "{path} could not be created ({reason}): check the folder and its permissions.",
        path=path,
        reason=error.strerror or str(error),
    )


def _refused(target: Path, error: OSError, otherwise: Message) -> HostError:
    """What a refusal of the system is to us: `NotNowError` where the disk is full, with `otherwise` a HostError."""
    if error.errno not in _FULL:
        return HostError(otherwise)
    full = message(
        "files.disk_full",
        "{path} could not be written because the disk is full: free {megabytes} MB there.",
        path=target,
        megabytes=ROOM // 2**20,
    )
    return NotNowError(full, lambda: _has_room(target.parent))


def _has_room(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free >= ROOM
    except OSError:  # the folder is gone: the next write says so
        return True
