"""An image file without what lies beside its pixels: for files whose text, profile or EXIF data stop Pillow.

What is kept of each format is what its pixels need (PNG specification 3rd edition, ITU T.81 annex B, the WebP container
specification, TIFF 6.0, GIF89a). Pixels that are cut short stay so: nothing is repaired.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from tinv_ext.core.data.png_colors import png_profile

_MOST = 512 * 2**20  # bytes of pixels, still compressed
_LARGEST_PROFILE = 16 * 2**20
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PNG_TRANSPARENCY = {0: 2, 2: 6, 3: 1}  # bytes that tRNS has at least, by color type; in others it has no place
_WEBP_DROPPED = (b"ICCP", b"EXIF", b"XMP ")
_WEBP_FLAGS = 0x20 | 0x08 | 0x04  # of these three, in VP8X
_ICC = b"ICC_PROFILE\0"
_TIFF_KEPT = {254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325}
_TIFF_KEPT |= {332, 333, 338, 339, 340, 341, 347, 512, 513, 514, 519, 520, 521, 529, 530, 531, 532}


@dataclass
class BareImage:
    """A file with nothing but pixels; the colour profile and the EXIF data that lay beside them."""

    file: BinaryIO
    profile: bytes | None = None
    exif: bytes | None = None


def bare_image(file: BinaryIO) -> BareImage | None:
    """The bare copy of a PNG, JPEG, WebP, TIFF or GIF file; None of any other and of one that cannot be followed."""
    head = file.read(12)
    for signature, start, strip in _FORMATS:
        if head[start:].startswith(signature):
            file.seek(0)
            try:
                return strip(file)
            except (struct.error, IndexError, ValueError, OverflowError):
                return None
    return None


def _read(file: BinaryIO, length: int) -> bytes:
    if length > _MOST:
        raise ValueError(length)
    return file.read(length)


def _png(file: BinaryIO) -> BareImage:
    bare = BareImage(io.BytesIO())
    bare.file.write(file.read(8))
    size, color = 0, 0
    while len(header := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", header)
        if name in _PNG_KEPT:
            size += length
            if size > _MOST:
                raise ValueError(size)
            data = file.read(length + 4)
            color = data[9] if name == b"IHDR" else color
            if name != b"tRNS" or _is_transparency(data, color):
                bare.file.write(header + data)
        elif name in (b"iCCP", b"eXIf") and length <= _LARGEST_PROFILE:
            data = _read(file, length + 4)[:length]
            if name == b"iCCP":
                bare.profile = _inflated(data[data.find(b"\0") + 2 :])
            else:
                bare.exif = b"Exif\0\0" + data
        else:
            file.seek(length + 4, io.SEEK_CUR)
        if name == b"IEND":
            break
    of_chunks = png_profile(file)
    bare.profile = bare.profile if of_chunks is None else of_chunks
    bare.file.seek(0)
    return bare


def _is_transparency(data: bytes, color: int) -> bool:
    """Whether a tRNS chunk, its checksum at the end, is whole and belongs to the color type; else viewers ignore it."""
    values, checksum = data[:-4], struct.unpack(">I", data[-4:])[0]
    least = _PNG_TRANSPARENCY.get(color)
    return least is not None and len(values) >= least and zlib.crc32(b"tRNS" + values) == checksum


def _inflated(data: bytes) -> bytes:
    """The profile of an iCCP chunk; empty if it is damaged or too large."""
    try:
        inflater = zlib.decompressobj()
        profile = inflater.decompress(data, _LARGEST_PROFILE)
    except zlib.error:
        return b""
    return profile if inflater.eof else b""


def _jpeg(file: BinaryIO) -> BareImage:
    bare = BareImage(io.BytesIO())
    bare.file.write(file.read(2))
    profile: dict[int, bytes] = {}
    while True:
        marker = file.read(2)
        while marker == b"\xff\xff":  # fill bytes
            marker = b"\xff" + file.read(1)
        if marker[0] != 0xFF:
            raise ValueError(marker)
        length = file.read(2)
        data = file.read(struct.unpack(">H", length)[0] - 2)
        code = marker[1]
        if code == 0xE2 and data.startswith(_ICC):
            profile[data[len(_ICC)] if len(data) > len(_ICC) else 0] = data[len(_ICC) + 2 :]
        elif code == 0xE1 and data.startswith(b"Exif\0\0"):
            bare.exif = bare.exif or data
        elif not (0xE1 <= code <= 0xED or code in (0xEF, 0xFE) or (code in (0xE0, 0xEE) and len(data) < 12)):
            bare.file.write(marker + length + data)
        if code == 0xDA:  # the start of the scan: only pixels follow
            break
    bare.file.write(_read(file, _MOST))
    bare.profile = b"".join(profile[number] for number in sorted(profile)) if profile else None
    bare.file.seek(0)
    return bare


def _webp(file: BinaryIO) -> BareImage:
    bare = BareImage(io.BytesIO())
    file.seek(12)
    kept = [b"WEBP"]
    while len(header := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", header)
        data = _read(file, length + length % 2)
        if name == b"VP8X":
            kept.append(header + bytes([data[0] & ~_WEBP_FLAGS]) + data[1:])
        elif name not in _WEBP_DROPPED:
            kept.append(header + data)
        elif name == b"ICCP" and len(data) >= length:
            bare.profile = data[:length]
        elif name == b"EXIF" and len(data) >= length:
            bare.exif = data[:length] if data.startswith(b"Exif\0\0") else b"Exif\0\0" + data[:length]
    body = b"".join(kept)
    bare.file.write(b"RIFF" + struct.pack("<I", len(body)) + body)
    bare.file.seek(0)
    return bare


def _tiff(file: BinaryIO) -> BareImage:
    """The tags that pixels need, of the first page; all else stays where it lies, without a tag that points to it."""
    data = bytearray(_read(file, _MOST))
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count_format, entry, next_format = (order + "Q", 20, order + "Q") if big else (order + "H", 12, order + "I")
    count = struct.unpack_from(count_format, data, start)[0]
    first = start + struct.calcsize(count_format)
    if count * entry > len(data):
        raise ValueError(count)
    entries = [bytes(data[first + i * entry : first + (i + 1) * entry]) for i in range(count)]
    kept = [item for item in entries if struct.unpack_from(order + "H", item)[0] in _TIFF_KEPT]
    profiles = [item for item in entries if struct.unpack_from(order + "H", item)[0] == 34675]
    struct.pack_into(count_format, data, start, len(kept))
    table = b"".join(kept) + bytes(struct.calcsize(next_format))
    data[first : first + len(table)] = table
    bare = BareImage(io.BytesIO(data))
    if profiles:
        length, offset = struct.unpack_from(order + ("QQ" if big else "II"), profiles[0], 4)
        bare.profile = bytes(data[offset : offset + length])
    return bare


def _gif(file: BinaryIO) -> BareImage:
    """The first frame."""
    bare = BareImage(io.BytesIO())
    header = file.read(13)
    bare.file.write(header + file.read(_gif_colors(header[10])))
    while True:
        block = file.read(1)
        if block == b"\x21":
            label, blocks = file.read(1), _gif_blocks(file)
            if label == b"\xf9":  # transparency
                bare.file.write(block + label + blocks)
        elif block == b"\x2c":
            place = file.read(9)
            bare.file.write(block + place + file.read(_gif_colors(place[8])) + file.read(1) + _gif_blocks(file))
            break
        else:
            raise ValueError(block)
    bare.file.write(b"\x3b")
    bare.file.seek(0)
    return bare


def _gif_colors(packed: int) -> int:
    return 3 << ((packed & 7) + 1) if packed & 0x80 else 0


def _gif_blocks(file: BinaryIO) -> bytes:
    blocks = bytearray()
    while True:
        length = file.read(1)
        data = file.read(length[0])
        blocks += length + data
        if not length[0] or len(data) < length[0] or len(blocks) > _MOST:
            return bytes(blocks)


_FORMATS: tuple[tuple[bytes, int, Callable[[BinaryIO], BareImage]], ...] = (
    (_PNG_SIGNATURE, 0, _png),
    (b"\xff\xd8\xff", 0, _jpeg),
    (b"WEBP", 8, _webp),
    (b"II*\0", 0, _tiff),
    (b"MM\0*", 0, _tiff),
    (b"II+\0", 0, _tiff),
    (b"MM\0+", 0, _tiff),
    (b"GIF8", 0, _gif),
)
