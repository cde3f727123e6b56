"""An image is trained on in the colours that its profile means."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from tests.core.data.fitted import load
from tests.messages import ids
from tinv_ext.core.data import color_profile
from tinv_ext.core.data.image_fit import FitRules
from tinv_ext.core.data.image_index import read_index, write_index
from tinv_ext.core.data.images import TrainingImage, scan_images
from tinv_ext.core.data.latents import EncodeRules, LatentDistribution, encode_images

SIZE = [(64, 64)]
TOLERANCE = 3  # of 255


def icc(space: bytes, kind: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    """An ICC profile (ICC.1:2001-04, version 2.4)."""
    tags = {b"desc": _description(), b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz(0.9642, 1.0, 0.8249), **tags}
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4s2I", name, start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s12x4s", size, b"\0\0\0\0", 0x02400000, kind, space, connection, b"acsp")
    return header.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061) + bytes(48) + table + body


def _description() -> bytes:
    return b"desc\0\0\0\0" + struct.pack(">I", 2) + b"a\0" + bytes(8 + 2 + 1 + 67)


def xyz(*numbers: float) -> bytes:
    """A tag of three coordinates."""
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def gamma(exponent: float) -> bytes:
    """A tone curve."""
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256))


RED, GREEN, BLUE = (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)  # of sRGB


def matrix(red: tuple[float, ...], green: tuple[float, ...], blue: tuple[float, ...], exponent: float) -> bytes:
    """A profile of three primaries under D50."""
    curves = {name: gamma(exponent) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return icc(b"RGB ", b"mntr", {b"rXYZ": xyz(*red), b"gXYZ": xyz(*green), b"bXYZ": xyz(*blue), **curves})


SWAPPED = matrix(GREEN, RED, BLUE, 2.2)
GREY = icc(b"GRAY", b"mntr", {b"kTRC": gamma(1.0)})


def print_profile() -> bytes:
    """Of a printer whose cyan is red: Lab by a table of 2×2×2×2 points, paper white, any ink but cyan alone black."""
    ramp = bytes(range(256))
    points = bytearray()
    for cyan in (0, 1):
        for others in range(8):
            lab = (0, 128, 128) if others else ((138, 208, 195) if cyan else (255, 128, 128))
            points += bytes(lab)
    identity = b"".join(struct.pack(">i", 65536 if i % 4 == 0 else 0) for i in range(9))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + bytes(points) + ramp * 3
    return icc(b"CMYK", b"prtr", {b"A2B0": table, b"A2B1": table}, b"Lab ")


def only(folder: Path, name: str, image: Image.Image, **options: Any) -> TrainingImage:
    """The one image of a folder, saved there."""
    image.save(folder / name, **options)
    (picture,) = scan_images(folder, FitRules(SIZE)).pictures
    return picture


def color(image: TrainingImage) -> np.ndarray:
    """Of its middle, as it is trained on."""
    return np.asarray(load(image, 64, 64).rgb)[32, 32].astype(int)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.jpg"])
def test_the_profile_of_every_format_counts(tmp_path: Path, name: str) -> None:
    """A profile whose red is green makes green of red numbers."""
    lossless = {"a.webp": {"lossless": True}, "a.jpg": {"quality": 100}}.get(name, {})
    image = only(tmp_path, name, Image.new("RGB", (64, 64), (250, 120, 120)), icc_profile=SWAPPED, **lossless)
    assert np.abs(color(image) - (120, 250, 120)).max() <= TOLERANCE
    assert not image.remarks


@pytest.mark.parametrize("mode", ["RGBA", "P", "PA", "transparent"])
def test_transparency_and_palettes_have_profiles_too(tmp_path: Path, mode: str) -> None:
    """The opacity stays, the colours change; what is transparent becomes white."""
    source = Image.new("RGBA", (64, 64), (250, 120, 120, 255))
    source.paste((0, 0, 0, 0), (0, 0, 64, 10))
    if mode == "transparent":
        image = only(tmp_path, "a.png", source.convert("RGB"), icc_profile=SWAPPED, transparency=(0, 0, 0))
    elif mode == "RGBA":
        image = only(tmp_path, "a.png", source, icc_profile=SWAPPED)
    else:
        flat = source.convert("RGB").quantize(4) if mode == "P" else source.quantize(4)
        image = only(tmp_path, "a.png", flat, icc_profile=SWAPPED)
    assert np.abs(color(image) - (120, 250, 120)).max() <= TOLERANCE
    fitted = load(image, 64, 64)
    if mode != "P":
        assert fitted.alpha is not None
        assert fitted.alpha.getpixel((32, 5)) == 0
        assert fitted.rgb.getpixel((32, 5)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_by_a_grey_profile(tmp_path: Path, mode: str) -> None:
    """Linear light of 50% is the grey 188 in sRGB."""
    if mode == "I;16":
        source = Image.frombytes("I;16", (64, 64), np.full((64, 64), 32896, "<u2").tobytes())
    else:
        source = Image.new(mode, (64, 64), 128 if mode == "L" else (128, 255))
    image = only(tmp_path, "a.png", source, icc_profile=GREY)
    assert np.abs(color(image) - 188).max() <= TOLERANCE


def test_grey_with_a_profile_of_colours(tmp_path: Path) -> None:
    """As programs write that save every image with the profile of the screen."""
    linear = matrix(RED, GREEN, BLUE, 1.0)
    image = only(tmp_path, "a.png", Image.new("L", (64, 64), 128), icc_profile=linear)
    assert np.abs(color(image) - 188).max() <= TOLERANCE


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_print_colours_by_their_profile(tmp_path: Path, name: str) -> None:
    """CMYK has no meaning but its profile's: here cyan ink is red."""
    image = only(tmp_path, name, Image.new("CMYK", (64, 64), (255, 0, 0, 0)), icc_profile=print_profile())
    red, green, blue = color(image)
    assert red > 240
    assert max(green, blue) < 60
    assert image.profile


def test_lab_images_are_read(tmp_path: Path) -> None:
    """They are colours without a profile."""
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (64, 64), (200, 60, 30)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert lab is not None
    image = only(tmp_path, "a.tif", lab)
    assert np.abs(color(image) - (200, 60, 30)).max() <= TOLERANCE


def test_srgb_changes_nothing(tmp_path: Path) -> None:
    """Not a bit: neither the pixels nor the place of the latent in the cache."""
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = only(tmp_path, "a.png", Image.fromarray(values), icc_profile=profile)
    assert np.array_equal(np.asarray(load(image, 64, 64).rgb), values)
    assert image.profile == color_profile.NO_PROFILE


@pytest.mark.parametrize(
    "mode, profile",
    [("RGB", b"no profile"), ("RGB", SWAPPED[:200]), ("RGB", GREY), ("CMYK", SWAPPED), ("RGB", print_profile())],
    ids=["garbage", "cut", "grey for colours", "screen for print", "print for screen"],
)
def test_a_profile_that_cannot_be_used_is_told(tmp_path: Path, mode: str, profile: bytes) -> None:
    """The numbers are taken as they are, as without a profile."""
    source = Image.new(mode, (64, 64), (250, 120, 120, 0)[: len(mode)])
    image = only(tmp_path, "a.tif", source, icc_profile=profile)
    assert ids(image.remarks) == ["images.broken_profile"]
    assert tuple(color(image)) == source.convert("RGB").getpixel((0, 0))


def test_without_little_cms_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not remembered: another Pillow may have it."""
    monkeypatch.setattr(color_profile, "ImageCms", None)
    image = only(tmp_path, "a.png", Image.new("RGB", (64, 64), (250, 120, 120)), icc_profile=SWAPPED)
    assert ids(image.remarks) == ["images.profile_unsupported"]
    assert tuple(color(image)) == (250, 120, 120)
    assert not image.settled


def test_a_latent_of_before_is_not_used(tmp_path: Path) -> None:
    """A latent cached while profiles were ignored has another key; images without one keep theirs."""
    folder, cache = tmp_path / "images", tmp_path / "cache"
    folder.mkdir()
    Image.new("RGB", (64, 64), (250, 120, 120)).save(folder / "a.png", icc_profile=SWAPPED)
    Image.new("RGB", (64, 64), (250, 120, 120)).save(folder / "b.png")
    scan = scan_images(folder, FitRules(SIZE))
    before = [TrainingImage(**{**vars(image), "profile": color_profile.NO_PROFILE}) for image in scan.pictures]
    encoded: list[torch.Tensor] = []

    def encode(pixels: torch.Tensor) -> LatentDistribution:
        encoded.append(pixels)
        return LatentDistribution(pixels[:, :, ::8, ::8].repeat(1, 2, 1, 1)[:, :4], torch.ones(1, 4, 8, 8))

    rules = EncodeRules(FitRules(SIZE), "vae")
    encode_images(before, rules, encode, cache)
    assert len(encoded) == 2
    encode_images(scan.pictures, rules, encode, cache)
    assert len(encoded) == 3


def test_the_index_remembers_the_profile(tmp_path: Path) -> None:
    """An image that is not opened again has the same key, and the same notice."""
    Image.new("RGB", (64, 64), (250, 120, 120)).save(tmp_path / "a.png", icc_profile=SWAPPED)
    Image.new("RGB", (64, 64), (250, 120, 120)).save(tmp_path / "b.png", icc_profile=b"none")
    for name in ("a.png", "b.png"):
        os.utime(tmp_path / name, (1, 1))
    scan = scan_images(tmp_path, FitRules(SIZE))
    write_index(tmp_path / "latents", scan.pictures)
    again = scan_images(tmp_path, FitRules(SIZE), read_index(tmp_path / "latents"))
    assert [image.profile for image in again.pictures] == [image.profile for image in scan.pictures]
    assert ids(again.pictures[1].remarks) == ["images.broken_profile"]
