"""What is found in images: duplicates, blur, letterbox bars, emptiness."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from tests.prepare.pictures import photo
from tinv_ext.prepare.bars import without_bars
from tinv_ext.prepare.blur import BLURRED, blur
from tinv_ext.prepare.duplicates import duplicates, fingerprint
from tinv_ext.prepare.empty import NEARLY_EMPTY, shown

SEEDS = range(8)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """As it comes back from a JPEG file."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "compressed": lambda image: jpeg(image, 30),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "stretched": lambda image: image.resize((256, 256)),
    "brighter": lambda image: image.point(lambda value: min(255, round(value * 1.05))),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
def test_a_copy_is_a_duplicate(change: Callable[[Image.Image], Image.Image]) -> None:
    """However it was compressed or scaled; the first in the order stands for it."""
    for seed in SEEDS:
        prints = [fingerprint(image) for image in (photo(seed), change(photo(seed)))]
        assert duplicates(prints, [0, 1]) == {1: 0}
        assert duplicates(prints, [1, 0]) == {0: 1}


def test_other_images_are_no_duplicates() -> None:
    """Neither others, nor the mirrored one, nor one of the same shapes in other colours."""
    images = [photo(seed) for seed in SEEDS]
    images.append(images[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    images.append(Image.merge("RGB", images[0].split()[::-1]))
    assert duplicates([fingerprint(image) for image in images], range(len(images))) == {}
    assert duplicates([], []) == {}


def test_blurred_images_are_told_from_sharp_ones() -> None:
    """At the same size; one of a sharp subject before a blurred background is sharp."""
    for seed in SEEDS:
        sharp = photo(seed, 512, 512)
        soft = sharp.filter(ImageFilter.GaussianBlur(3))
        assert blur(sharp) < BLURRED - 0.05 < BLURRED < blur(soft)
        subject = soft.copy()
        subject.paste(sharp.crop((200, 200, 380, 380)), (200, 200))
        assert blur(subject) < BLURRED


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (40, 40)])
def test_blur_of_what_has_no_edges_is_one(size: tuple[int, int]) -> None:
    """Also where an image is smaller than the window."""
    assert blur(Image.new("RGB", size, "teal")) == 1


BARS = {"black": (0, 0, 0), "white": (255, 255, 255), "grey": (90, 90, 90)}


@pytest.mark.parametrize("color", BARS.values(), ids=BARS)
@pytest.mark.parametrize(("across", "down"), [(0, 60), (70, 0), (70, 60)])
def test_letterbox_bars_are_found(color: tuple[int, int, int], across: int, down: int) -> None:
    """Above and below, left and right, all around; also as a JPEG. All of them go, and hardly more."""
    inside = photo(3, 400, 300)
    image = Image.new("RGB", (400 + 2 * across, 300 + 2 * down), color)
    image.paste(inside, (across, down))
    box = without_bars(jpeg(image, 80))
    assert box is not None
    wanted = (across, down, across + 400, down + 300)
    for found, edge, sign in zip(box, wanted, (1, 1, -1, -1)):
        assert 0 <= (found - edge) * sign <= 10


def test_what_is_no_letterbox_keeps_its_size() -> None:
    """A photograph; a subject before a plain background; one bar alone; bars of two colours; one plain colour."""
    plain = Image.new("RGB", (400, 400), "white")
    ImageDraw.Draw(plain).ellipse((120, 60, 280, 340), fill="navy")
    one = photo(1, 400, 400)
    one.paste("black", (0, 0, 400, 60))
    two = one.copy()
    two.paste("white", (0, 340, 400, 400))
    for image in (photo(1), plain, one, two, Image.new("RGB", (64, 64), "red"), Image.new("RGB", (1, 1))):
        assert without_bars(image) is None


def test_nearly_empty_images_are_found() -> None:
    """A page with a speck on it; a drawing with lines is none."""
    page = Image.new("RGB", (500, 500), "white")
    ImageDraw.Draw(page).ellipse((10, 10, 30, 30), fill="black")
    assert shown(page) < NEARLY_EMPTY
    ImageDraw.Draw(page).ellipse((100, 100, 400, 400), outline="black", width=4)
    assert shown(page) > NEARLY_EMPTY
    assert shown(photo(0)) > 0.5
    noise = np.random.default_rng(0).integers(120, 130, (64, 64, 3)).astype(np.uint8)  # a faded film has grain
    assert shown(Image.fromarray(noise)) == 0
