"""How pictures are brought to size: crops, flips, colours, and that each variant is encoded once and no more."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import cbook
from PIL import Image
from torch import Tensor

from tests.core.data.test_latents import Encoder
from tests.core.fake import dataset, examples, initial
from tinv_ext.core.data import faces, saliency
from tinv_ext.core.data.buckets import bucket_sizes, own_size
from tinv_ext.core.data.fitted_image import fit_image
from tinv_ext.core.data.image_fit import FLIPS, INTERPOLATIONS, Fit, FitRules
from tinv_ext.core.data.images import TrainingImage, scan_images
from tinv_ext.core.data.latents import EncodedImage, EncodeRules, LatentDistribution, encode_images
from tinv_ext.core.settings import TrainConfig

SQUARE = FitRules(((64, 64),))
SIDES = st.integers(1, 3000)
NOISE = np.random.default_rng(0).integers(0, 255, (64, 200, 3), dtype=np.uint8)


def scanned(folder: Path, image: Image.Image, rules: FitRules = SQUARE) -> TrainingImage:
    """The image, saved and scanned."""
    folder.mkdir(exist_ok=True)
    image.save(folder / "a.png")
    (found,) = scan_images(folder, rules).pictures
    return found


def encoded(image: TrainingImage, rules: FitRules, encoder: Any = None) -> tuple[EncodedImage, ...]:
    """All variants of an image."""
    (variants,) = encode_images([image], EncodeRules(rules, "vae"), encoder or Encoder(), None)
    return variants


def differing(pixels: Tensor) -> LatentDistribution:
    """A VAE that sees each pixel's place, so that a flipped latent is not the latent of the flipped picture."""
    height, width = pixels.shape[2:]
    places = torch.arange(height * width, dtype=torch.float32).view(height, width) / (height * width)
    mean = torch.nn.functional.avg_pool2d(pixels * places, 8)
    return LatentDistribution(torch.cat([mean, mean[:, :1]], 1), torch.ones(1, 4, *mean.shape[2:]))


# --- the defaults, and latents of before --------------------------------------------------------------------------


def test_by_default_there_is_one_variant_whose_cached_latent_is_that_of_before(tmp_path: Path) -> None:
    """Cropped in the middle; in the cache it has the name that it had before there were variants."""
    image = scanned(tmp_path / "images", Image.fromarray(NOISE))
    rules = TrainConfig(width=64, height=64).fit_rules
    assert rules.fits(200, 64) == (Fit(64, 64, place=Fraction(1, 2)),)
    encode_images([image], EncodeRules(rules, "vae"), Encoder(), tmp_path / "cache")
    key = hashlib.sha256(f"1 {image.digest} 64x64 False vae".encode()).hexdigest()
    assert [file.stem for file in (tmp_path / "cache").glob("??/*.safetensors")] == [key]


# --- crops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_random_crops_lie_evenly_from_end_to_end(count: int) -> None:
    """The middle comes first; both ends are among them; each shows what it says."""
    rules = replace(SQUARE, crop="random", variants=count)
    fits = rules.fits(200, 64)
    lefts = [fit.corner(200, 64)[0] for fit in fits]
    assert lefts[0] == (200 - 64) // 2
    assert len(set(lefts)) == len(fits) in (count, count - 1)  # the middle may be one of the others
    assert min(lefts) == 0
    assert count == 2 or max(lefts) == 200 - 64
    for fit, left in zip(fits, lefts):
        shown = np.asarray(fit_image(Image.fromarray(NOISE), fit).rgb)
        assert np.array_equal(shown, NOISE[:, left : left + 64])
        assert fit.size_cond(200, 64, (left, 0)).numbers == (64, 200, 0, left, 64, 64)


def test_where_nothing_is_cut_off_random_crops_are_one() -> None:
    """A picture of the shape trained is encoded once, however many crops are asked for."""
    rules = replace(SQUARE, crop="random", variants=8)
    assert rules.fits(512, 512) == (SQUARE.fit(512, 512),)
    assert len(replace(rules, stretch=True).fits(200, 64)) == 1
    assert len(replace(rules, color_aug=True).fits(512, 512)) == 8


@pytest.mark.parametrize("end", ["left", "right", "top", "bottom"])
def test_a_focal_crop_shows_what_stands_out(end: str, tmp_path: Path) -> None:
    """A patch of detail near one end of a plain picture is whole in the crop; the cut is told to SDXL."""
    values = np.full((64, 320, 3), 90, np.uint8)
    values[16:48, 250:282] = NOISE[:32, :32]
    values = values if end == "right" else values[:, ::-1] if end == "left" else values.transpose(1, 0, 2)
    values = values[::-1] if end == "top" else values
    rules = replace(SQUARE, crop="focal")
    (shown,) = encoded(scanned(tmp_path, Image.fromarray(np.ascontiguousarray(values)), rules), rules)
    left, top = shown.corner
    rows, columns = np.nonzero((values != 90).any(2))
    assert left <= columns.min()
    assert columns.max() < left + 64
    assert top <= rows.min()
    assert rows.max() < top + 64
    assert shown.size_cond.crop == (top, left)


def test_a_focal_crop_of_a_plain_picture_is_the_middle() -> None:
    """Nothing stands out."""
    assert saliency.most_salient(Image.new("RGB", (300, 100), "red"), Fraction(1, 3), Fraction(1)) == (0.5, 0.5)


def test_a_focal_crop_is_the_same_from_the_cache(tmp_path: Path) -> None:
    """Where it lies is kept beside the latent: nothing is decoded to know it."""
    values = np.full((64, 320, 3), 90, np.uint8)
    values[:, 250:314] = NOISE[:, :64]
    rules = EncodeRules(replace(SQUARE, crop="focal"), "vae")
    image = scanned(tmp_path / "images", Image.fromarray(values))
    first, encoder = encode_images([image], rules, Encoder(), tmp_path / "cache"), Encoder()
    again = encode_images([image], rules, encoder, tmp_path / "cache")
    assert encoder.calls == []
    assert again[0][0].corner == first[0][0].corner != (128, 0)
    assert again[0][0].size_cond == first[0][0].size_cond


def test_faces_outweigh_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A face found at one end, much detail at the other: the crop is at the face."""
    values = np.full((64, 320, 3), 90, np.uint8)
    values[:, :100] = NOISE[:, :100]
    image = Image.fromarray(values)
    assert saliency.most_salient(image, Fraction(1, 5), Fraction(1))[0] < 0.4
    monkeypatch.setattr(saliency, "faces_in", lambda rgb: [(0.85, 0.2, 0.95, 0.8)])
    assert saliency.most_salient(image, Fraction(1, 5), Fraction(1))[0] > 0.8


def test_opencv_finds_a_face() -> None:
    """On a photograph that matplotlib brings along, where OpenCV is installed: the face is in the crop."""
    pytest.importorskip("cv2")
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        image = Image.open(file).convert("RGB")
    ((left, top, right, bottom),) = faces.faces_in(image)
    fit = FitRules(((256, 64),), crop="focal").fit(*image.size)
    begin, high = fit_image(image, fit).corner[1], fit.scaled(*image.size)[1]
    assert begin < (top + bottom) / 2 * high < begin + 64
    assert (left, right) == pytest.approx((0.3, 0.6), abs=0.15)


def test_without_opencv_no_face_is_found() -> None:
    """The detector is optional; where it is installed it runs, and finds none in noise."""
    assert faces.faces_in(Image.fromarray(NOISE)) == []
    assert faces.have_detector() == ("no faces" not in saliency.detector())


# --- flips -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flip", ["horizontal", "vertical", "both"])
def test_a_flipped_variant_is_the_flipped_picture(flip: str, tmp_path: Path) -> None:
    """Bit for bit what the file saved flipped gives, size conditioning included, transparency too."""
    image = Image.fromarray(NOISE).convert("RGBA")
    image.putalpha(Image.fromarray(NOISE[..., 0]))
    variants = encoded(scanned(tmp_path / "one", image), replace(SQUARE, flip=flip), differing)
    assert [variant.fit.flip for variant in variants] == list(FLIPS[flip])
    turns = {"none": np.s_[:], "horizontal": np.s_[:, ::-1], "vertical": np.s_[::-1], "both": np.s_[::-1, ::-1]}
    for variant in variants:
        turned = Image.fromarray(np.ascontiguousarray(np.asarray(image)[turns[variant.fit.flip]]))
        (by_hand,) = encoded(scanned(tmp_path / "two", turned), SQUARE, differing)
        assert torch.equal(variant.latent.mean, by_hand.latent.mean)
        assert variant.size_cond == by_hand.size_cond
        assert variant.opacity is not None
        assert by_hand.opacity is not None
        assert torch.equal(variant.opacity, by_hand.opacity)


def test_a_crop_off_the_middle_is_told_mirrored() -> None:
    """What was cut off at the left of a flipped picture was at its right before."""
    fit = Fit(64, 64, place=Fraction(1, 4), flip="horizontal")
    corner = fit.corner(264, 64)
    assert corner == (50, 0)
    assert fit.size_cond(264, 64, corner).crop == (0, 150)


# --- colours and interpolation ----------------------------------------------------------------------------------------


def test_colours_vary_a_little_and_always_alike() -> None:
    """The first are its own; others change hue or gamma, in the same way at each call, not all in one way."""
    image = Image.fromarray(NOISE)
    fits = replace(SQUARE, color_aug=True, variants=9).fits(*image.size)
    first, *others = (np.asarray(fit_image(image, fit, "digest").rgb).astype(int) for fit in fits)
    assert np.array_equal(first, np.asarray(fit_image(image, SQUARE.fit(*image.size)).rgb))
    assert len({other.tobytes() for other in others}) > 4
    for fit, other in zip(fits[1:], others):
        assert np.array_equal(np.asarray(fit_image(image, fit, "digest").rgb), other)
        assert abs(other.max(2) - first.max(2)).max() <= 6  # the value (of HSV) changes by gamma alone, by 5 %
    assert any((other.max(2) != first.max(2)).mean() > 0.3 for other in others)  # gamma
    assert any(abs(other - first).max() > 6 for other in others)  # hue


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_pictures_are_scaled_as_asked(interpolation: str) -> None:
    """As Pillow's filter of that name does it, in a variant of its own in the cache."""
    image = Image.fromarray(NOISE)
    fit = replace(SQUARE, interpolation=interpolation).fit(400, 128)
    large = image.resize((400, 128))
    filters = {"area": Image.Resampling.BOX}
    resampling = filters.get(interpolation) or Image.Resampling[interpolation.upper()]
    expected = large.resize((200, 64), resampling).crop((68, 0, 132, 64))
    assert np.array_equal(np.asarray(fit_image(large, fit).rgb), np.asarray(expected))
    assert bool(fit.description) == (interpolation != "lanczos")


# --- sizes -----------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, derandomize=True)
@given(SIDES, SIDES, st.sampled_from([8, 64]))
def test_pictures_keep_their_size_in_whole_steps(width: int, height: int, step: int) -> None:
    """Never enlarged but to a single step, nor larger than is allowed; cut by less than a step."""
    wide, high = own_size(width, height, step, 2048)
    assert wide % step == high % step == 0
    assert max(wide, high) <= 2048
    if max(width, height) <= 2048:
        assert wide in (width // step * step, step)
        assert high in (height // step * step, step)
    assert TrainConfig(width=512, height=512, resize_mode="keep", bucket_step=step).fit_rules.size_of(
        width, height
    ) == (wide, high)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(64, 3000), st.integers(64, 3000))
def test_without_enlarging_no_picture_grows(width: int, height: int) -> None:
    """A picture that has the pixels comes to its bucket; one that has not keeps its size."""
    config = TrainConfig(width=512, height=512, resize_mode="buckets", bucket_no_upscale=True)
    bucket = config.but(bucket_no_upscale=False).fit_rules.size_of(width, height)
    wide, high = config.fit_rules.size_of(width, height)
    if bucket[0] <= width and bucket[1] <= height:
        assert (wide, high) == bucket
    elif max(width, height) <= 1024:
        assert (wide, high) == (width // 64 * 64, height // 64 * 64)
    assert wide <= max(width, 64)
    assert high <= max(height, 64)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(2, 8), st.integers(8, 16))
def test_buckets_lie_within_the_limits(least: int, most: int) -> None:
    """Each side but those of the training size; without limits they are as before."""
    sizes = bucket_sizes(512, 512, 64, least * 64, most * 64)
    assert (512, 512) in sizes
    assert all(least * 64 <= side <= most * 64 for size in sizes for side in size)
    assert bucket_sizes(512, 512, 64, 256, 1024) == bucket_sizes(512, 512, 64)


# --- each encoded once, and drawn by the run's generator ------------------------------------------------------------


def test_each_variant_is_encoded_once(tmp_path: Path) -> None:
    """3 crops with colours of their own in 2 flips are 6; a second run encodes none; one variant more is one more."""
    rules = replace(SQUARE, crop="random", color_aug=True, flip="horizontal", variants=3)
    image, encoder, reports = scanned(tmp_path / "images", Image.fromarray(NOISE)), Encoder(), []
    cache = tmp_path / "cache"
    (first,) = encode_images([image], EncodeRules(rules, "vae"), encoder, cache, lambda *done: reports.append(done))
    assert encoder.calls == [1] * 6
    assert reports == [(done, 6) for done in range(1, 7)]
    assert len({tuple(variant.latent.mean.flatten().tolist()) for variant in first}) == 6
    again = Encoder()
    (second,) = encode_images([image], EncodeRules(rules, "vae"), again, cache)
    assert again.calls == []
    assert all(torch.equal(one.latent.mean, two.latent.mean) for one, two in zip(first, second))
    vertical = Encoder()
    encode_images([image], EncodeRules(replace(rules, flip="both"), "vae"), vertical, cache)
    assert vertical.calls == [1] * 6


def test_a_visit_samples_one_of_the_variants() -> None:
    """Each about as often, from the generator of the state; with one variant nothing is sampled."""
    one, two, three = examples(3)
    state, data = initial(), dataset([replace(one, others=(two, three))], "deterministic")
    seen = [data.batch(1, state.order, state.rng).latents[0] for _ in range(300)]
    counts = Counter(next(n for n, e in enumerate((one, two, three)) if torch.equal(e.latent.mean, x)) for x in seen)
    assert min(counts[n] for n in range(3)) > 70
    state, again = initial(), dataset([replace(one, others=(two, three))], "deterministic")
    assert all(torch.equal(again.batch(1, state.order, state.rng).latents[0], latent) for latent in seen)
    state = initial()
    before = state.rng.get_state()
    assert one.variant(state.rng) is one
    assert torch.equal(state.rng.get_state(), before)
