"""Colours of a PNG without an ICC profile: its cICP, sRGB, gAMA and cHRM chunks, made into a profile.

The order in which they count is that of the PNG specification, 3rd edition, 4.3: cICP, iCCP, sRGB, then gAMA with cHRM.
Numbers of primaries and transfer functions are those of ITU-T H.273.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import BinaryIO

import numpy as np

HDR = b"hdr"
"""Instead of a profile: brightness by PQ or HLG, which has no one way to sRGB."""
DAMAGED = b""
SIZES: Mapping[bytes, int] = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}
"""Bytes of the chunks on colours."""
Chromaticities = tuple[float, ...]  # x and y of white, red, green, blue

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_D65 = (0.3127, 0.3290)
_BT_709 = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_SMPTE_170M = (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)
_PRIMARIES: Mapping[int, Chromaticities] = {
    1: _BT_709,
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: _SMPTE_170M,
    7: _SMPTE_170M,
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_SRGB_CURVE = 0.0
# exponents; the curves of video count as sRGB's, since images from it were seen on such a screen
_TRANSFERS = {1: _SRGB_CURVE, 4: 2.2, 5: 2.8, 6: _SRGB_CURVE, 8: 1.0, 13: _SRGB_CURVE, 14: _SRGB_CURVE, 15: _SRGB_CURVE}
_HDR_TRANSFERS = (16, 18)
_UNSPECIFIED = 2
_USUAL = 1 / 2.2  # gAMA of sRGB images; within libpng's PNG_GAMMA_THRESHOLD of it, sRGB's own curve is meant
_THRESHOLD = 0.05
_GAMMAS = (0.1, 10.0)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])


def png_profile(file: BinaryIO) -> bytes | None:
    """The profile that a PNG's own chunks stand for: an ICC profile, `HDR`, or `DAMAGED`.

    None where they say nothing, leave it to an ICC profile, or the file is no PNG. Begins at the file's start, and puts
    it back there.
    """
    file.seek(0)
    chunks = _chunks(file)
    file.seek(0)
    profile = _of_cicp(chunks[b"cICP"]) if b"cICP" in chunks else None
    if profile is not None or b"iCCP" in chunks or b"sRGB" in chunks:
        return profile
    return _of_gamma(chunks.get(b"gAMA"), chunks.get(b"cHRM"))


def _chunks(file: BinaryIO) -> dict[bytes, bytes]:
    """The chunks on colours before the pixels, those that are whole; of iCCP only that it is there."""
    chunks: dict[bytes, bytes] = {}
    if file.read(8) != _SIGNATURE:
        return chunks
    while len(header := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", header)
        if name in (b"IDAT", b"IEND"):
            break
        if SIZES.get(name) == length:
            data, checksum = file.read(length), file.read(4)
            if checksum == struct.pack(">I", zlib.crc32(name + data)):
                chunks[name] = data
            continue
        if name == b"iCCP":
            chunks[name] = b""
        file.seek(length + 4, io.SEEK_CUR)
    return chunks


def _of_cicp(data: bytes) -> bytes | None:
    primaries, transfer, matrix, full_range = data
    if transfer in _HDR_TRANSFERS:
        return HDR
    if _UNSPECIFIED in (primaries, transfer):
        return None
    if primaries not in _PRIMARIES or transfer not in _TRANSFERS or matrix or not full_range:
        return DAMAGED
    return _profile(_PRIMARIES[primaries], _TRANSFERS[transfer])


def _of_gamma(gamma: bytes | None, chromaticities: bytes | None) -> bytes | None:
    if gamma is None and chromaticities is None:
        return None
    exponent = _SRGB_CURVE
    if gamma is not None:
        encoded = struct.unpack(">I", gamma)[0] / 100_000
        if not _GAMMAS[0] <= encoded <= _GAMMAS[1]:
            return DAMAGED
        exponent = _SRGB_CURVE if abs(encoded / _USUAL - 1) < _THRESHOLD else 1 / encoded
    places = _BT_709
    if chromaticities is not None:
        places = tuple(number / 100_000 for number in struct.unpack(">8I", chromaticities))
    return _profile(places, exponent)


@lru_cache(maxsize=16)
def _profile(chromaticities: Chromaticities, exponent: float) -> bytes:
    """An ICC profile (4.2, matrix and curves) of such primaries; `DAMAGED` where they span no space."""
    matrix = _to_d50(chromaticities)
    if matrix is None:
        return DAMAGED
    curve = _curve(exponent)
    tags = {b"wtpt": _xyz(_D50)}
    for column, name in enumerate((b"r", b"g", b"b")):
        tags |= {name + b"XYZ": _xyz(matrix[:, column]), name + b"TRC": curve}
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data
    header = struct.pack(
        ">I4sI4s4s4s12s4s28s12s48s",
        *(start + len(body), b"", 0x04200000, b"mntr", b"RGB ", b"XYZ ", b"", b"acsp", b"", _numbers(_D50), b""),
    )
    return header + table + body


def _to_d50(chromaticities: Chromaticities) -> np.ndarray | None:
    """Linear red, green and blue to XYZ under D50 (Lindbloom, RGB/XYZ matrices; Bradford's adaptation)."""
    points = np.array(chromaticities).reshape(4, 2)
    if (points[:, 1] <= 0).any() or (points.sum(1) > 1).any():
        return None
    xyz = np.stack([points[:, 0] / points[:, 1], np.ones(4), (1 - points.sum(1)) / points[:, 1]])
    white, primaries = xyz[:, 0], xyz[:, 1:]
    if abs(np.linalg.det(primaries)) < 1e-6 or (_BRADFORD @ white <= 0).any():
        return None
    scaled = primaries * np.linalg.solve(primaries, white)
    cones = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    matrix = np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ scaled
    return np.asarray(matrix) if np.abs(matrix).max() < 100 else None


def _curve(exponent: float) -> bytes:
    """From stored numbers to linear ones: a power, or sRGB's curve (IEC 61966-2-1)."""
    if exponent == _SRGB_CURVE:
        return struct.pack(">4s4xH2x", b"para", 3) + _numbers([2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045])
    return struct.pack(">4s4xH2x", b"para", 0) + _numbers([exponent])


def _xyz(numbers: Sequence[float] | np.ndarray) -> bytes:
    return struct.pack(">4s4x", b"XYZ ") + _numbers(numbers)


def _numbers(numbers: Sequence[float] | np.ndarray) -> bytes:
    """As s15Fixed16Number."""
    return b"".join(struct.pack(">i", round(float(number) * 65536)) for number in numbers)
