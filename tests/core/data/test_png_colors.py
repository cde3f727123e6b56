"""A PNG is trained on in the colours that its own chunks mean."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.messages import ids
from tinv_ext.core.data.color_profile import NO_PROFILE
from tinv_ext.core.data.decoding import decode
from tinv_ext.core.data.image_fit import FitRules
from tinv_ext.core.data.images import scan_images
from tinv_ext.core.data.png_colors import png_profile

COLORS = [(200, 60, 40), (60, 200, 60), (20, 40, 180), (128, 128, 128), (10, 10, 10), (0, 0, 0), (255, 255, 255)]
P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
BT_2020 = (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def gama(value: float) -> bytes:
    """A gAMA chunk."""
    return chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def chrm(places: tuple[float, ...]) -> bytes:
    """A cHRM chunk."""
    return chunk(b"cHRM", struct.pack(">8I", *(round(number * 100_000) for number in places)))


def cicp(primaries: int, transfer: int, matrix: int = 0, full_range: int = 1) -> bytes:
    """A cICP chunk."""
    return chunk(b"cICP", bytes([primaries, transfer, matrix, full_range]))


def png(chunks: bytes, mode: str = "RGB", **options: bytes) -> bytes:
    """A PNG of `COLORS`, with such chunks after its header."""
    image = Image.new("RGB", (len(COLORS), 8))
    for x, color in enumerate(COLORS):
        image.paste(color, (x, 0, x + 1, 8))
    file = io.BytesIO()
    image.convert(mode).save(file, "png", **options)
    return file.getvalue()[:33] + chunks + file.getvalue()[33:]


def shown(data: bytes) -> list[tuple[int, ...]]:
    """The colours of the decoded image."""
    pixels = np.asarray(decode(io.BytesIO(data)).image.convert("RGB"))
    return [tuple(int(number) for number in pixel) for pixel in pixels[0]]


def worked_out(places: tuple[float, ...], exponent: float | None) -> list[tuple[int, ...]]:
    """The same by the definitions of colour spaces alone; all have the white point of sRGB."""
    stored = np.array(COLORS) / 255
    linear = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    linear = linear if exponent is None else stored**exponent

    def to_xyz(of: tuple[float, ...]) -> np.ndarray:
        xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in zip(of[::2], of[1::2])]).T
        return np.asarray(xyz[:, 1:] * np.linalg.solve(xyz[:, 1:], xyz[:, 0]))

    ours = np.clip(linear @ to_xyz(places).T @ np.linalg.inv(to_xyz(SRGB)).T, 0, 1)
    encoded = np.where(ours <= 0.0031308, ours * 12.92, 1.055 * ours ** (1 / 2.4) - 0.055)
    return [tuple(int(number) for number in color) for color in (encoded * 255).round()]


@pytest.mark.parametrize(
    ("chunks", "places", "exponent"),
    [
        (cicp(12, 13), P3, None),
        (cicp(9, 13), BT_2020, None),
        (cicp(9, 1), BT_2020, None),
        (cicp(1, 8), SRGB, 1.0),
        (cicp(1, 5), SRGB, 2.8),
        (gama(1 / 1.8), SRGB, 1.8),
        (gama(1.0), SRGB, 1.0),
        (gama(1 / 2.2) + chrm(ADOBE), ADOBE, None),
        (chrm(P3), P3, None),
    ],
    ids=["p3", "2020", "2020 video", "linear", "gamma 2.8", "gama 1.8", "gama 1", "adobe", "chrm"],
)
def test_colours_come_to_srgb(chunks: bytes, places: tuple[float, ...], exponent: float | None) -> None:
    """Within 2 of 255 of what the definitions give, where they lie in sRGB or are clipped to it."""
    difference = np.abs(np.array(shown(png(chunks))) - np.array(worked_out(places, exponent)))
    assert difference.max() <= 2
    assert np.abs(np.array(COLORS) - np.array(worked_out(places, exponent))).max() > 5


@pytest.mark.parametrize(
    "chunks",
    [b"", cicp(1, 13), cicp(1, 1), cicp(2, 2), gama(0.45455), gama(0.45455) + chrm(SRGB), chrm(SRGB)],
    ids=["none", "srgb", "video", "unspecified", "gama", "gama chrm", "chrm"],
)
def test_srgb_stays_as_it_is(chunks: bytes) -> None:
    """Chunks that mean sRGB, as most programs write them, change no bit."""
    decoded = decode(io.BytesIO(png(chunks)))
    assert decoded.profile == NO_PROFILE
    assert shown(png(chunks)) == COLORS


def test_order_of_the_specification() -> None:
    """cICP before an ICC profile, that before sRGB, that before gAMA and cHRM."""
    wide = shown(png(cicp(12, 13)))
    assert shown(png(cicp(12, 13) + chunk(b"sRGB", b"\0") + gama(1.0))) == wide
    assert shown(png(chunk(b"sRGB", b"\0") + gama(1.0) + chrm(ADOBE))) == COLORS
    icc = png_profile(io.BytesIO(png(cicp(12, 13))))
    assert icc
    assert shown(png(gama(1.0), icc_profile=icc)) == wide
    assert shown(png(cicp(1, 13), icc_profile=icc)) == COLORS
    assert shown(png(cicp(2, 2), icc_profile=icc)) == wide


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGBA"])
def test_every_mode(mode: str) -> None:
    """Grey, palette and transparent images, too."""
    plain = np.array(shown(png(b"", mode)), float)
    expected = 255 * (1.055 * np.maximum(plain / 255, 0.0031308) ** (1 / 2.4) - 0.055)
    found = np.array(shown(png(gama(1.0), mode)))
    light = plain > 5
    assert np.abs(found - expected)[light].max() <= 2
    if mode in ("LA", "RGBA"):
        assert decode(io.BytesIO(png(gama(1.0), mode))).image.mode == "RGBA"


@pytest.mark.parametrize(
    ("chunks", "told"),
    [
        (cicp(9, 16), "images.hdr"),
        (cicp(9, 18), "images.hdr"),
        (cicp(99, 13), "images.broken_profile"),
        (cicp(1, 13, matrix=1), "images.broken_profile"),
        (cicp(1, 13, full_range=0), "images.broken_profile"),
        (gama(0.0), "images.broken_profile"),
        (gama(1.0) + chrm((0.0,) * 8), "images.broken_profile"),
        (gama(1.0) + chrm((0.3, 0.3) * 4), "images.broken_profile"),
        (gama(1.0) + chrm((42_949.0,) * 8), "images.broken_profile"),
    ],
    ids=["pq", "hlg", "unknown", "matrix", "range", "gama", "zeros", "one point", "huge"],
)
def test_what_cannot_be_done_is_told(tmp_path: Path, chunks: bytes, told: str) -> None:
    """HDR and chunks that mean no colour space: a remark, and the numbers as they are."""
    (tmp_path / "a.png").write_bytes(png(chunks))
    (image,) = scan_images(tmp_path, FitRules(sizes=[(8, 8)])).pictures
    assert told in ids(image.remarks)
    assert shown(png(chunks)) == COLORS


def test_odd_chunks_do_no_harm() -> None:
    """Those of another length, with a wrong checksum or after the pixels count as none; the rest still does."""
    broken = chunk(b"gAMA", struct.pack(">I", 100_000))[:-1] + b"!"
    for chunks in (chunk(b"gAMA", b""), chunk(b"cHRM", b"12"), chunk(b"cICP", bytes(9)), broken):
        assert shown(png(chunks)) == COLORS
    assert shown(png(chunk(b"gAMA", b"") + cicp(12, 13))) == shown(png(cicp(12, 13)))
