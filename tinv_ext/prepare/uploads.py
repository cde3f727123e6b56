"""Images that come piece by piece into a folder: each is there whole and was looked at, or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
import unicodedata
from contextlib import suppress
from pathlib import Path

from tinv_ext.core.atomic import make_folder, replace_file
from tinv_ext.core.data.captions import read_text
from tinv_ext.core.data.decoding import Unusable
from tinv_ext.core.data.images import LARGEST_FILE, open_image
from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.names import RESERVED

TEXTS = (".txt", ".caption")
"""Suffixes of captions, which come with images."""
_LARGEST_TEXT = 1 << 20  # bytes
_LONGEST = 160  # bytes of a name, without its suffix
_BLOCK = 1 << 20
_FORBIDDEN = re.compile(r'[<>:"/\\|?*%\x00-\x1f\x7f]+')
_placing = threading.Lock()  # held from looking for a free name to having it


def file_name(given: str) -> str:
    """A name that every system takes, as near to the one given as can be; folders in it become a part of it."""
    name = unicodedata.normalize("NFC", given.encode("utf-8", "ignore").decode("utf-8"))
    name = _FORBIDDEN.sub("-", name.replace("\\", "/").strip("/"))
    stem, _, suffix = name.rpartition(".")
    if not suffix.isalnum() or len(suffix) > 10 or "." not in name:
        stem, suffix = name, ""
    stem = stem.strip(" .-").encode("utf-8")[:_LONGEST].decode("utf-8", "ignore").rstrip(" .") or "image"
    if stem.split(".")[0].lower() in RESERVED:
        stem = f"_{stem}"
    return f"{stem}.{suffix}" if suffix else stem


class Upload:
    """One file on its way into `folder`: a context in which its pieces are written; discarded unless finished."""

    def __init__(self, folder: Path, given: str) -> None:
        make_folder(folder)
        self.folder, self.given, self.name = folder, given, file_name(given)
        self._temp = folder / f".upload.{secrets.token_hex(4)}.tmp"  # swept like every other, if the program dies
        self._size = 0
        self._most = _LARGEST_TEXT if self.is_text else LARGEST_FILE
        try:
            self._file = open(self._temp, "xb")  # noqa: SIM115 (closed by finish or discard)
        except OSError as error:
            raise self._refused(error) from error

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    @property
    def is_text(self) -> bool:
        """Whether it is a caption."""
        return self.name.lower().endswith(TEXTS)

    def write(self, data: bytes) -> None:
        """Add a piece. `InputError` where the file becomes too large, HostError where the disk is full."""
        self._size += len(data)
        if self._size > self._most:
            raise InputError(
                message(
                    "uploads.too_large",
                    '"{file}" is larger than {most} MB. It was left out.',
                    file=self.given,
                    most=self._most >> 20,
                )
            )
        try:
            self._file.write(data)
        except OSError as error:
            raise self._refused(error) from error

    def finish(self) -> Path:
        """Look at the whole file, and put it into the folder under a free name.

        A file that is there with the same bytes is that one. `InputError` if it is neither an image nor a caption.
        """
        self._close()
        digest = self._looked_at()
        with _placing:
            path = self._free(digest)
            if not path.exists():
                replace_file(self._temp, path)
        return path

    def discard(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):  # what it still wanted to write is not wanted
            self._file.close()
        with suppress(OSError):  # held by a virus scanner, say: it is swept later
            self._temp.unlink(missing_ok=True)

    def _close(self) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise self._refused(error) from error

    def _looked_at(self) -> str:
        """The SHA-256 of the file's bytes, if it can be used."""
        try:
            if self.is_text:
                read_text(self._temp)
                return _digest(self._temp)
            return open_image(self._temp)[1]
        except Unusable as unusable:
            raise InputError(self._left_out(unusable.reason)) from unusable
        except InputError as error:
            reason = message("uploads.no_text", "is no text in UTF-8; save it as UTF-8")
            raise InputError(self._left_out(reason)) from error

    def _left_out(self, reason: Message) -> Message:
        return message("uploads.left_out", '"{file}" {reason}. It was left out.', file=self.given, reason=reason)

    def _free(self, digest: str) -> Path:
        """The first of "cat.png", "cat (2).png" … that is free, or has these very bytes."""
        path, number = self.folder / self.name, 2
        while os.path.lexists(path) and not (path.is_file() and _has_digest(path, self._size, digest)):
            stem, dot, suffix = self.name.rpartition(".")
            path = self.folder / (f"{stem} ({number}).{suffix}" if dot else f"{self.name} ({number})")
            number += 1
        return path

    def _refused(self, error: OSError) -> HostError:
        return HostError(
            message(
                "uploads.not_written",
                '"{file}" could not be saved in "{folder}" ({reason}): check the free disk space and the permissions.',
                file=self.given,
                folder=self.folder,
                reason=error.strerror or str(error),
            )
        )


def _has_digest(path: Path, size: int, digest: str) -> bool:
    return path.stat().st_size == size and _digest(path) == digest


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
