"""Reading what torch.save wrote, in the zip container (torch 1.6 and later) and the legacy one, without torch.load."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats.pickle_names import Storage, Symbol, persistent_value
from tinv_ext.core.formats.pickles import load_pickle

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
MAX_FILE_BYTES = 1 << 25
MAX_PICKLE_BYTES = 1 << 23
MAX_RECORDS = 10_000
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    OverflowError,
)
"""What zipfile raises for damaged archives, some of it from deep inside (NotImplementedError is a RuntimeError)."""


def read_torch(data: bytes) -> Any:
    """The saved object: plain values and StoredTensors (see `load_pickle`). Raises FormatError.

    `data` is the whole file, at most MAX_FILE_BYTES.
    """
    if len(data) > MAX_FILE_BYTES:
        raise FormatError(f"The file has {len(data)} bytes: too large for an embedding, it may be a checkpoint.")
    return _read_zip(data) if data[:2] == b"PK" else _read_legacy(memoryview(data))


def _read_zip(data: bytes) -> Any:
    """torch's zip: `<folder>/data.pkl`, `<folder>/data/<key>` for each storage, and small records of no use to us."""
    if data.count(b"PK\x01\x02") > MAX_RECORDS:
        raise FormatError(f"The zip has more than {MAX_RECORDS} records: it is not an embedding.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        records = {info.filename: info for info in archive.infolist()}
    except ZIP_ERRORS as error:
        raise FormatError(f"The zip cannot be read ({error}): the file is cut off or damaged.") from error
    if len(records) != len(archive.infolist()):
        raise FormatError("The zip holds a record twice: it was not written by torch.save and may be malicious.")
    pickles = [name for name in records if re.fullmatch(r"([^/]+/)?data\.pkl", name)]
    if len(pickles) != 1:
        raise FormatError(
            "The zip holds no single data.pkl: it was not written by torch.save, so it is not an embedding."
        )
    folder = pickles[0][: -len("data.pkl")]
    if f"{folder}byteorder" in records and _record(archive, records, f"{folder}byteorder", 16) != b"little":
        raise FormatError("The file was written on a big-endian machine: save it again on another.")

    def fetch(key: str, size: int) -> bytes:
        content = _record(archive, records, f"{folder}data/{key}", MAX_FILE_BYTES)
        if len(content) != size:
            raise FormatError(
                f"The numbers '{key}' should have {size} bytes but {len(content)} are there: the file is damaged."
            )
        return content

    program = _record(archive, records, pickles[0], MAX_PICKLE_BYTES)
    return load_pickle(memoryview(program), 0, lambda saved: persistent_value(saved, fetch))[0]


def _record(archive: zipfile.ZipFile, records: Mapping[str, zipfile.ZipInfo], name: str, limit: int) -> bytes:
    """One record, checked by its CRC; never more than `limit` bytes are unpacked, whatever its header says."""
    if name not in records:
        raise FormatError(f"The zip lacks the record '{name[:80]}': the file is damaged.")
    if records[name].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(f"The record '{name[:80]}' of the zip is packed in a way that torch never uses.")
    try:
        with archive.open(records[name]) as file:
            content = file.read(limit + 1)
    except ZIP_ERRORS as error:
        raise FormatError(
            f"The record '{name[:80]}' of the zip cannot be read ({error}): the file is damaged."
        ) from error
    if len(content) > limit:
        raise FormatError(f"The record '{name[:80]}' of the zip is too large for an embedding.")
    return content


def _read_legacy(data: memoryview) -> Any:
    """torch's old container: five pickles (magic, version, machine, object, keys), then count and numbers by key."""
    found: dict[str, memoryview] = {}

    def fetch(key: str, size: int) -> memoryview:
        if key not in found or len(found[key]) != size:
            raise FormatError(
                f"The numbers '{key[:40]}' are missing or have a wrong size: the file is cut off or damaged."
            )
        return found[key]

    storages: dict[str, Storage] = {}

    def persistent(saved: object) -> Storage | Symbol:
        value = persistent_value(saved, fetch)
        if isinstance(saved, tuple) and isinstance(value, Storage):
            return storages.setdefault(saved[2], value)
        return value

    place = _legacy_head(data)
    value, place = load_pickle(data, place, persistent)
    keys, place = load_pickle(data, place, persistent)
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in storages for key in keys):
        raise FormatError("The list of tensors in the file is wrong: the file is damaged.")
    found.update(_legacy_numbers(data, place, {key: storages[key] for key in keys}))
    return value


def _legacy_head(data: memoryview) -> int:
    """Check the first three pickles; return where the object's begins."""
    magic, place = load_pickle(data, 0, _no_tensors)
    if magic != LEGACY_MAGIC:
        raise FormatError("The file is a pickle, but not one of torch.save: it is not an embedding.")
    version, place = load_pickle(data, place, _no_tensors)
    machine, place = load_pickle(data, place, _no_tensors)
    if version != LEGACY_VERSION or not isinstance(machine, dict):
        raise FormatError(
            f"The file has another version of torch's legacy format than {LEGACY_VERSION}: it is damaged."
        )
    if machine.get("little_endian") is not True:
        raise FormatError("The file was written on a big-endian machine: save it again on another.")
    return place


def _legacy_numbers(data: memoryview, place: int, storages: Mapping[str, Storage]) -> dict[str, memoryview]:
    found = {}
    for key, storage in storages.items():
        count = int.from_bytes(data[place : place + 8], "little")
        end = place + 8 + storage.size
        if end > len(data) or count != storage.count:
            raise FormatError(f"The numbers '{key[:40]}' are cut off or have a wrong size: the file is damaged.")
        found[key] = data[place + 8 : end]
        place = end
    return found


def _no_tensors(saved: object) -> object:
    raise FormatError("The head of the file refers to tensors: the file is damaged.")
