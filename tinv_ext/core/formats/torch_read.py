"""Reading what torch.save wrote, in the zip container (torch 1.6 and later) and the legacy one, without torch.load."""

from __future__ import annotations

import io
import mmap
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats.pickle_names import Storage, Symbol, persistent_value
from tinv_ext.core.formats.pickle_read import MAX_OPCODES, load_pickle
from tinv_ext.core.messages import Message, message

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
MAX_FILE_BYTES = 1 << 25
MAX_PICKLE_BYTES = 1 << 23
MAX_RECORDS = 10_000


@dataclass(frozen=True)
class Limits:
    """The most that is believed of a file: bytes of its pickle and of one record, records, opcodes of the pickle."""

    pickle: int
    record: int
    records: int
    opcodes: int


EMBEDDING = Limits(MAX_PICKLE_BYTES, MAX_FILE_BYTES, MAX_RECORDS, MAX_OPCODES)
CHECKPOINT = Limits(1 << 25, 1 << 33, 100_000, 2_000_000)
UNPACKED = 4
"""How many times as large as its file a checkpoint may become: torch does not compress, and recompressed weights
hardly shrink. `SPARE` bytes are allowed in any case."""
SPARE = 1 << 20
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

_BIG_ENDIAN = message(
    "formats.big_endian", "The file was written on a big-endian machine. Save it again on a little-endian one."
)


def read_torch(data: bytes) -> Any:
    """The saved object: plain values and StoredTensors (see `load_pickle`). Raises FormatError.

    `data` is the whole file, at most MAX_FILE_BYTES.
    """
    if len(data) > MAX_FILE_BYTES:
        raise FormatError(file_too_large(len(data)))
    if data[:2] != b"PK":
        return _read_legacy(memoryview(data), EMBEDDING)
    if data.count(b"PK\x01\x02") > MAX_RECORDS:
        raise FormatError(_too_many_records(MAX_RECORDS))
    return _read_zip(io.BytesIO(data), EMBEDDING)


def read_torch_checkpoint(path: Path) -> Any:
    """As `read_torch`, for a file of any size: its numbers stay there until they are asked for. Raises FormatError."""
    with path.open("rb") as file:
        head = file.read(2)
        if not head:
            raise FormatError(message("formats.nothing_in_it", "The file is empty."))
        if head != b"PK":
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))  # outlives the file
            return _read_legacy(whole, CHECKPOINT)
    archive = path.open("rb")  # which the tensors keep open
    try:
        return _read_zip(archive, CHECKPOINT)
    except BaseException:
        archive.close()  # or Windows would let nobody delete the file while somebody keeps the error
        raise


def _too_many_records(limit: int) -> Message:
    return message(
        "formats.zip_too_many", "The zip has more than {limit} records, too many for an embedding.", limit=limit
    )


def file_too_large(count: int) -> Message:
    """Why a torch file of `count` bytes is not read."""
    return message(
        "formats.file_too_large",
        "The file has {count} bytes, too many for an embedding. It may be a checkpoint.",
        count=count,
    )


def _read_zip(file: BinaryIO, limits: Limits) -> Any:
    """torch's zip: `<folder>/data.pkl`, `<folder>/data/<key>` for each storage, and small records of no use to us."""
    try:
        archive = zipfile.ZipFile(file)
        records = {info.filename: info for info in archive.infolist()}
    except ZIP_ERRORS as error:
        raise FormatError(
            message(
                "formats.zip_unreadable",
                "The zip cannot be read ({error}). The file is truncated or damaged.",
                error=str(error),
            )
        ) from error
    if len(records) != len(archive.infolist()):
        raise FormatError(
            message(
                "formats.zip_record_twice",
                "The zip has the same record twice. It was not written by torch.save and may be malicious.",
            )
        )
    if len(records) > limits.records:
        raise FormatError(_too_many_records(limits.records))
    room = _room(file, records) if limits is CHECKPOINT else None
    pickles = [name for name in records if re.fullmatch(r"([^/]+/)?data\.pkl", name)]
    if len(pickles) != 1:
        raise FormatError(
            message(
                "formats.zip_no_pickle",
                "The zip does not have exactly one data.pkl, so it was not written by torch.save: it is neither an "
                "embedding nor a checkpoint.",
            )
        )
    folder = pickles[0][: -len("data.pkl")]
    if f"{folder}byteorder" in records and _record(archive, records, f"{folder}byteorder", 16) != b"little":
        raise FormatError(_BIG_ENDIAN)

    def fetch(key: str, size: int) -> bytes:
        name = f"{folder}data/{key}"
        actual = records[name].file_size if name in records else size
        if actual == size:
            if room is not None:
                room.take(size)
            content = _record(archive, records, name, min(limits.record, size))
            actual = len(content)
        if actual != size:
            raise FormatError(
                message(
                    "formats.record_bytes",
                    'The record "{key}" should have {expected} bytes but has {actual}. The file is damaged.',
                    key=key[:80],
                    expected=size,
                    actual=actual,
                )
            )
        return content

    program = _record(archive, records, pickles[0], limits.pickle)
    return load_pickle(memoryview(program), 0, lambda saved: persistent_value(saved, fetch), limits.opcodes)[0]


class _Room:
    """How many bytes may still be read: many tensors may have the same numbers, but not any number of them."""

    def __init__(self, size: int) -> None:
        self.left = UNPACKED * size + SPARE

    def take(self, count: int) -> None:
        """Count what is about to be read."""
        self.left -= count
        if self.left < 0:
            raise FormatError(
                message(
                    "formats.unpacks_too_large",
                    "The file becomes more than {times} times as large when it is read. It may be malicious.",
                    times=UNPACKED,
                )
            )


def _room(file: BinaryIO, records: Mapping[str, zipfile.ZipInfo]) -> _Room:
    size = file.seek(0, 2)
    _Room(size).take(sum(info.file_size for info in records.values()))
    return _Room(size)


def _record(archive: zipfile.ZipFile, records: Mapping[str, zipfile.ZipInfo], name: str, limit: int) -> bytes:
    """One record, checked by its CRC; never more than `limit` bytes are unpacked, whatever its header says."""
    if name not in records:
        raise FormatError(
            message("formats.zip_lacks", 'The zip lacks the record "{name}". The file is damaged.', name=name[:80])
        )
    if records[name].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(
            message(
                "formats.zip_compression",
                'The record "{name}" in the zip is compressed in a way that torch never uses.',
                name=name[:80],
            )
        )
    try:
        with archive.open(records[name]) as file:
            content = file.read(limit + 1)
    except ZIP_ERRORS as error:
        raise FormatError(
            message(
                "formats.zip_record_unreadable",
                'The record "{name}" in the zip cannot be read ({error}). The file is damaged.',
                name=name[:80],
                error=str(error),
            )
        ) from error
    if len(content) > limit:
        raise FormatError(
            message(
                "formats.zip_record_too_large",
                'The record "{name}" in the zip is too large for an embedding.',
                name=name[:80],
            )
        )
    return content


def _read_legacy(data: memoryview, limits: Limits) -> Any:
    """torch's old container: five pickles (magic, version, machine, object, keys), then count and numbers by key."""
    numbers: dict[str, memoryview] = {}
    room = _Room(len(data))

    def fetch(key: str, size: int) -> memoryview:
        room.take(size)
        if key not in numbers or len(numbers[key]) != size:
            raise FormatError(_truncated(key))
        return numbers[key]

    storages: dict[str, Storage] = {}

    def persistent(saved: object) -> Storage | Symbol:
        value = persistent_value(saved, fetch)
        if isinstance(saved, tuple) and isinstance(value, Storage):
            return storages.setdefault(saved[2], value)
        return value

    position = _legacy_head(data)
    value, position = load_pickle(data, position, persistent, limits.opcodes)
    keys, position = load_pickle(data, position, persistent, limits.opcodes)
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in storages for key in keys):
        raise FormatError(
            message("formats.legacy_keys", "The list of tensors in the file is wrong. The file is damaged.")
        )
    numbers.update(_legacy_numbers(data, position, {key: storages[key] for key in keys}))
    return value


def _legacy_head(data: memoryview) -> int:
    """Check the first three pickles; return where the object's begins."""
    magic, position = load_pickle(data, 0, _no_tensors)
    if magic != LEGACY_MAGIC:
        raise FormatError(
            message(
                "formats.legacy_magic",
                "The file is a pickle that torch.save did not write, so it is not an embedding.",
            )
        )
    version, position = load_pickle(data, position, _no_tensors)
    machine, position = load_pickle(data, position, _no_tensors)
    if version != LEGACY_VERSION or not isinstance(machine, dict):
        raise FormatError(
            message(
                "formats.legacy_version",
                "The file has a version of torch's legacy format other than {version}. It is damaged.",
                version=LEGACY_VERSION,
            )
        )
    if machine.get("little_endian") is not True:
        raise FormatError(_BIG_ENDIAN)
    return position


def _legacy_numbers(data: memoryview, position: int, storages: Mapping[str, Storage]) -> dict[str, memoryview]:
    numbers = {}
    for key, storage in storages.items():
        count = int.from_bytes(data[position : position + 8], "little")
        end = position + 8 + storage.size
        if end > len(data) or count != storage.count:
            raise FormatError(_truncated(key))
        numbers[key] = data[position + 8 : end]
        position = end
    return numbers


def _truncated(key: str) -> Message:
    return message(
        "formats.legacy_truncated",
        'The numbers of the tensor "{key}" are missing or of the wrong size. The file is truncated or damaged.',
        key=key[:40],
    )


def _no_tensors(saved: object) -> object:
    raise FormatError(message("formats.legacy_head", "The head of the file refers to tensors. The file is damaged."))
