"""Pixels that are whole are used, whatever lies beside them; pixels that are cut short never are."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.core.data.fitted import load
from tests.messages import ids, refused
from tinv_ext.core.data.image_fit import FitRules
from tinv_ext.core.data.images import scan_images

SIZE = [(64, 64)]


def pixels() -> Image.Image:
    """An image of many colours, so that a shifted or lost row would show."""
    values = np.arange(64 * 64 * 3, dtype=np.int64).reshape(64, 64, 3) * 7 % 256
    return Image.fromarray(values.astype(np.uint8))


def encoded(format: str, **options: object) -> bytes:  # noqa: A002
    """`pixels` as a file."""
    file = io.BytesIO()
    pixels().save(file, format, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes, checksum: int | None = None) -> bytes:
    """A chunk of a PNG."""
    checksum = zlib.crc32(name + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def png(*chunks: bytes, cut: int = 0) -> bytes:
    """A PNG with chunks before its pixels."""
    data = encoded("PNG")
    data = data[:33] + b"".join(chunks) + data[33:]
    return data[: len(data) - cut]


def png_after(*chunks: bytes) -> bytes:
    """A PNG with chunks after its pixels."""
    data = encoded("PNG")
    return data[:-12] + b"".join(chunks) + data[-12:]


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG with segments at its beginning."""
    data = encoded("JPEG", quality=95, subsampling=0)
    added = b"".join(struct.pack(">BBH", 0xFF, code, len(body) + 2) + body for code, body in segments)
    return data[:2] + added + data[2:]


def webp(name: bytes, body: bytes, flag: int) -> bytes:
    """A lossless WebP with one more chunk; `flag` announces it."""
    data = encoded("WEBP", lossless=True)
    extended = b"VP8X" + struct.pack("<I", 10) + bytes([flag, 0, 0, 0]) + b"\x3f\0\0\x3f\0\0"
    rest = extended + data[12:] + name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    if name == b"ICCP":
        rest = extended + name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) + data[12:]
    return b"RIFF" + struct.pack("<I", len(rest) + 4) + b"WEBP" + rest


def tiff(tag: int, kind: int, count: int, value: int) -> bytes:
    """A TIFF with one tag of any content."""
    data = bytearray(encoded("TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (number,) = struct.unpack_from("<H", data, start)
    entries = data[start + 2 : start + 2 + number * 12]
    entries = entries + struct.pack("<HHII", tag, kind, count, value)
    ordered = sorted((entries[i : i + 12] for i in range(0, len(entries), 12)), key=lambda item: item[:2][::-1])
    struct.pack_into("<I", data, 4, len(data))
    return bytes(data) + struct.pack("<H", number + 1) + b"".join(ordered) + bytes(4)


def broken_second_page() -> bytes:
    """A TIFF that announces a second page where there is none."""
    data = bytearray(encoded("TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (number,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + number * 12, len(data) + 5)
    return bytes(data) + b"\0\0\0\0\0\xff\xff"


def text(name: bytes, size: int) -> bytes:
    """A compressed text chunk."""
    return chunk(b"zTXt", name + b"\0\0" + zlib.compress(b"x" * size))


MB = 2**20
ODD: dict[str, Callable[[], bytes]] = {
    "exif-garbage.png": lambda: png(chunk(b"eXIf", b"garbage")),
    "exif-empty.png": lambda: png(chunk(b"eXIf", b"")),
    "raw-profile-exif.png": lambda: png(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  4\nnothex")),
    "raw-profile-short.png": lambda: png(chunk(b"tEXt", b"Raw profile type exif\0x")),
    "raw-profile-iptc.png": lambda: png(chunk(b"tEXt", b"Raw profile type iptc\0\niptc\n 9\nzz")),
    "text-2mb.png": lambda: png(text(b"parameters", 2 * MB)),
    "text-plain-2mb.png": lambda: png(chunk(b"tEXt", b"parameters\0" + b"x" * 2 * MB)),
    "text-many.png": lambda: png(*(text(b"t%d" % i, MB - 10) for i in range(70))),
    "itxt-2mb.png": lambda: png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * 2 * MB))),
    "text-2mb-after.png": lambda: png_after(text(b"workflow", 2 * MB)),
    "text-method.png": lambda: png(chunk(b"zTXt", b"a\0\7abc")),
    "transparency-short.png": lambda: png(chunk(b"tRNS", b"\1")),
    "transparency-checksum.png": lambda: png(chunk(b"tRNS", b"\0" * 6, 1)),
    "text-checksum.png": lambda: png(chunk(b"tEXt", b"a\0b", 1)),
    "checksum-after.png": lambda: png_after(chunk(b"tEXt", b"a\0b", 1)),
    "icc-2mb.png": lambda: png(chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"x" * 2 * MB))),
    "icc-method.png": lambda: png(chunk(b"iCCP", b"icc\0\7" + zlib.compress(b"x"))),
    "icc-garbage.png": lambda: png(chunk(b"iCCP", b"icc\0\0garbage")),
    "icc-nameless.png": lambda: png(chunk(b"iCCP", b"")),
    "srgb-empty.png": lambda: png(chunk(b"sRGB", b"")),
    "gamma-short.png": lambda: png(chunk(b"gAMA", b"a")),
    "density-short.png": lambda: png(chunk(b"pHYs", b"abc")),
    "density-huge.png": lambda: png(chunk(b"pHYs", b"\xff" * 9)),
    "animation-cut.png": lambda: png(chunk(b"acTL", b"\0")),
    "animation-frame.png": lambda: png(chunk(b"acTL", struct.pack(">2I", 2, 0)), chunk(b"fcTL", b"\0" * 10)),
    "animation-order.png": lambda: png(chunk(b"acTL", struct.pack(">2I", 2, 0)), chunk(b"fcTL", b"\xff" * 26)),
    "unnamed-chunk.png": lambda: png(chunk(b"xxXx", b"a" * 100)),
    "exif-garbage.webp": lambda: webp(b"EXIF", b"garbage", 0x08),
    "xmp-garbage.webp": lambda: webp(b"XMP ", b"\xff\xfe<", 0x04),
    "icc-garbage.webp": lambda: webp(b"ICCP", b"garbage", 0x20),
    "flags-lie.webp": lambda: webp(b"JUNK", b"garbage", 0x2C),
    "exif-garbage.jpg": lambda: jpeg((0xE1, b"Exif\0\0garbage")),
    "exif-tag.jpg": lambda: jpeg((0xE1, b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\5\0\1\0\0\0\xff\xff\xff\xff\0\0\0\0")),
    "exif-text.jpg": lambda: jpeg((0xE1, b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\4\0\0\0up\0\0\0\0\0\0")),
    "xmp-garbage.jpg": lambda: jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff<")),
    "icc-short.jpg": lambda: jpeg((0xE2, b"ICC_PROFILE\0")),
    "icc-part.jpg": lambda: jpeg((0xE2, b"ICC_PROFILE\0\1\3abc")),
    "icc-garbage.jpg": lambda: jpeg((0xE2, b"ICC_PROFILE\0\1\1abc")),
    "mpf-garbage.jpg": lambda: jpeg((0xE2, b"MPF\0garbage")),
    "photoshop-short.jpg": lambda: jpeg((0xED, b"Photoshop 3.0\x008BIM\0")),
    "photoshop-size.jpg": lambda: jpeg((0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\xff\xff\xff\xffx")),
    "adobe-short.jpg": lambda: jpeg((0xEE, b"Adobe")),
    "jfif-short.jpg": lambda: jpeg((0xE0, b"JFIF")),
    "comment-binary.jpg": lambda: jpeg((0xFE, bytes(range(256)))),
    "resolution-text.tif": lambda: tiff(282, 2, 4, 0x00616161),
    "icc-outside.tif": lambda: tiff(34675, 7, 900, 0x7FFFFFFF),
    "exif-outside.tif": lambda: tiff(34665, 4, 1, 0x7FFFFFFF),
    "exif-type.tif": lambda: tiff(34665, 2, 4, 0x00616161),
    "xmp-number.tif": lambda: tiff(700, 4, 1, 5),
    "unknown-type.tif": lambda: tiff(40000, 99, 5, 7),
    "many.tif": lambda: tiff(40000, 4, 0x7FFFFFFF, 7),
    "second-page.tif": broken_second_page,
    "comment-cut.gif": lambda: encoded("GIF")[:-1] + b"\x21\xfe\xff" + b"a" * 100,
    "second-frame-cut.gif": lambda: encoded("GIF")[:-1] + b"\x2c\0\0\0\0\x40\0\x40\0\0\x08\xff\0\1",
    "no-trailer.gif": lambda: encoded("GIF")[:-1],
    "trailing.bmp": lambda: encoded("BMP") + b"more" * 100,
}


@pytest.mark.parametrize("name", list(ODD))
def test_whole_pixels_are_used(tmp_path: Path, name: str) -> None:
    """Every one gives the colours that the same file without the odd part gives."""
    suffix = name.rsplit(".", 1)[1]
    (tmp_path / name).write_bytes(ODD[name]())
    scan = scan_images(tmp_path, FitRules(SIZE))
    assert [image.path.name for image in scan.pictures] == [name], scan.skipped
    plain = {
        "jpg": lambda: encoded("JPEG", quality=95, subsampling=0),
        "gif": lambda: encoded("GIF"),
    }.get(suffix, lambda: encoded("PNG"))()
    with Image.open(io.BytesIO(plain)) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(np.asarray(load(scan.pictures[0], 64, 64).rgb), expected)
    assert set(ids(scan.pictures[0].remarks)) - {"images.frames"} == (
        {"images.broken_profile"} if name in TOLD else set()
    )


TOLD = {"icc-2mb.png", "icc-method.png", "icc-garbage.png", "icc-nameless.png", "icc-garbage.webp", "icc-short.jpg"}
TOLD |= {"icc-part.jpg", "icc-garbage.jpg"}


def test_orientation_beside_odd_text_counts(tmp_path: Path) -> None:
    """What stops Pillow does not take the rest of the metadata with it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = pixels().transpose(Image.Transpose.ROTATE_270)
    (tmp_path / "a.png").write_bytes(png(text(b"a", 2 * MB), chunk(b"eXIf", exif.tobytes()[6:])))
    (tmp_path / "b.jpg").write_bytes(jpeg((0xE1, exif.tobytes()), (0xE2, b"ICC_PROFILE\0")))
    for image in scan_images(tmp_path, FitRules(SIZE)).pictures:
        difference = np.asarray(load(image, 64, 64).rgb, np.int16) - np.asarray(turned, np.int16)
        assert np.abs(difference).mean() < (0.1 if image.path.suffix == ".png" else 20)


@pytest.mark.parametrize("cut", [40, 200, 4000])
def test_cut_pixels_are_refused_all_the_same(tmp_path: Path, cut: int) -> None:
    """Beside odd metadata, too."""
    (tmp_path / "a.png").write_bytes(png(text(b"a", 2 * MB), cut=cut))
    with refused("images.none_usable"):
        scan_images(tmp_path, FitRules(SIZE))


@pytest.mark.parametrize(
    "head, format",
    [(b"\0\0\0\x18ftypheic", "HEIC"), (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"), (b"\xff\x0a\xfa\x7f", "JPEG XL")],
)
def test_formats_of_others_name_the_remedy(tmp_path: Path, head: bytes, format: str) -> None:  # noqa: A002
    """HEIC and its like are named, with what to save them as."""
    (tmp_path / "a.heic").write_bytes(head + bytes(100))
    with refused("images.unread_format", format=format):
        scan_images(tmp_path, FitRules(SIZE))


def test_texts_that_fit_are_not_touched() -> None:
    """The limits of Pillow are those of the process: nothing here raises them."""
    assert PngImagePlugin.MAX_TEXT_CHUNK == MB
