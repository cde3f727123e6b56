"""Latents are made once for a picture, a size and a VAE, and kept on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.messages import refused
from tinv_ext.core.data.image_fit import FitRules
from tinv_ext.core.data.images import TrainingImage, scan_images
from tinv_ext.core.data.latents import EncodedImage, EncodeRules, LatentDistribution
from tinv_ext.core.data.latents import encode_images as encode_variants
from tinv_ext.core.data.masks import MaskRules
from tinv_ext.core.errors import NumericError

RULES = EncodeRules(FitRules(((64, 64),)), "vae one")


class Encoder:
    """A VAE that takes means over 8×8 pixels, and remembers how many pictures each call brought."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, pixels: Tensor) -> LatentDistribution:
        self.calls.append(len(pixels))
        mean = torch.nn.functional.avg_pool2d(pixels, 8)
        return LatentDistribution(torch.cat([mean, mean[:, :1]], 1), torch.full((len(pixels), 4, *mean.shape[2:]), 0.5))


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[TrainingImage, ...]:
    """Five pictures, the last transparent on its right half, and a copy of the first."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(5):
        image = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        if index == 4:
            image.putalpha(Image.fromarray(np.repeat([[255] * 32 + [0] * 32], 64, 0).astype(np.uint8)))
        image.save(folder / f"{index}.png")
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    return scan_images(folder, FitRules([(64, 64)])).pictures


def encode_images(*given: Any) -> list[EncodedImage]:
    """Pictures of one variant each, encoded."""
    return [image for (image,) in encode_variants(*given)]


def same(one: list[EncodedImage], other: list[EncodedImage]) -> bool:
    """Whether all latents and opacities are bit for bit alike."""
    return all(
        torch.equal(a.latent.mean, b.latent.mean)
        and torch.equal(a.latent.std, b.latent.std)
        and (a.opacity is None) == (b.opacity is None)
        and (a.opacity is None or b.opacity is None or torch.equal(a.opacity, b.opacity))
        and a.picture == b.picture
        for a, b in zip(one, other, strict=True)
    )


def test_a_second_run_encodes_nothing(pictures: tuple[TrainingImage, ...], tmp_path: Path) -> None:
    """What was kept is bit for bit what was encoded; equal files are encoded once, each by itself."""
    encoder, reports = Encoder(), []
    first = encode_images(pictures, RULES, encoder, tmp_path / "cache", lambda *done: reports.append(done))
    assert encoder.calls == [1] * 5
    assert reports == [(done, 5) for done in range(1, 6)]
    again = Encoder()
    assert same(encode_images(pictures, RULES, again, tmp_path / "cache"), first)
    assert again.calls == []
    assert [picture.picture.path.name for picture in first] == ["0.png", "1.png", "2.png", "3.png", "4.png", "copy.png"]
    assert torch.equal(first[0].latent.mean, first[5].latent.mean)
    assert [picture.opacity is not None for picture in first] == [False] * 4 + [True, False]


def test_an_image_that_was_turned_twice_before_is_encoded_again(
    pictures: tuple[TrainingImage, ...], tmp_path: Path
) -> None:
    """What the cache has of a TIFF with an orientation shows it the wrong way up."""
    encode_images(pictures[:1], RULES, Encoder(), tmp_path / "cache")
    again = Encoder()
    encode_images([replace(pictures[0], turned=True)], RULES, again, tmp_path / "cache")
    assert again.calls == [1]


def test_without_a_cache_nothing_is_written(pictures: tuple[TrainingImage, ...], tmp_path: Path) -> None:
    """And the latents are the same."""
    kept = encode_images(pictures, RULES, Encoder(), tmp_path / "cache")
    before = sorted(tmp_path.rglob("*"))
    assert same(encode_images(pictures, RULES, Encoder(), None), kept)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": [(128, 64)]},
        {"sizes": [(64, 128)]},
        {"stretch": True},
        {"interpolation": "area"},
        {"vae_digest": "vae two"},
    ],
    ids=lambda c: next(iter(c)),
)
def test_other_rules_encode_again(
    pictures: tuple[TrainingImage, ...], tmp_path: Path, change: dict[str, object]
) -> None:
    """Another size, another fit, another VAE; the old latents stay for the next run with the old rules."""
    encode_images(pictures, RULES, Encoder(), tmp_path)
    other, old = Encoder(), Encoder()
    rules = (
        replace(RULES, **change)
        if "vae_digest" in change
        else EncodeRules(replace(RULES.fit_rules, **change), "vae one")
    )
    encode_images(pictures, rules, other, tmp_path)
    encode_images(pictures, RULES, old, tmp_path)
    assert (sum(other.calls), sum(old.calls)) == (5, 0)


def test_latents_go_by_content_not_by_name(pictures: tuple[TrainingImage, ...], tmp_path: Path) -> None:
    """A renamed picture is known, a changed one is encoded again."""
    encode_images(pictures, RULES, Encoder(), tmp_path)
    folder = pictures[0].path.parent
    (folder / "0.png").rename(folder / "renamed.png")
    Image.new("RGB", (64, 64)).save(folder / "1.png")
    encoder = Encoder()
    encode_images(scan_images(folder, FitRules([(64, 64)])).pictures, RULES, encoder, tmp_path)
    assert encoder.calls == [1]


@pytest.mark.parametrize("damage", [b"", b"x" * 300, None], ids=["empty", "nonsense", "cut"])
def test_a_damaged_file_is_made_again(
    pictures: tuple[TrainingImage, ...], tmp_path: Path, damage: bytes | None
) -> None:
    """Nobody has to know; afterwards it is whole."""
    first = encode_images(pictures, RULES, Encoder(), tmp_path / "cache")
    for path in (tmp_path / "cache").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    mended, after = Encoder(), Encoder()
    assert same(encode_images(pictures, RULES, mended, tmp_path / "cache"), first)
    encode_images(pictures, RULES, after, tmp_path / "cache")
    assert (sum(mended.calls), sum(after.calls)) == (5, 0)


def test_a_vae_that_breaks_is_told_with_the_picture(pictures: tuple[TrainingImage, ...], tmp_path: Path) -> None:
    """Not a number: which picture, what to do; nothing of it is kept."""

    encoder = Encoder()

    def broken(pixels: Tensor) -> LatentDistribution:
        found = encoder(pixels)
        return found if len(encoder.calls) == 1 else LatentDistribution(found.mean * float("nan"), found.std)

    with refused("latents.not_finite", NumericError, path=pictures[1].path):
        encode_images(pictures, RULES, broken, tmp_path / "cache")
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1


def test_a_sample_is_mean_and_noise() -> None:
    """mean + std·noise, place by place."""
    latent = LatentDistribution(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0]))
    assert latent.sample(torch.tensor([2.0, 9.0])).tolist() == [2.0, 2.0]


def test_weights_of_an_opacity_average_one(pictures: tuple[TrainingImage, ...]) -> None:
    """By hand: half clear is 2 and 0; opaque is 1 exactly; wholly clear counts everywhere. Columns stay columns."""
    half = encode_images(pictures, RULES, Encoder(), None)[4].opacity
    assert half is not None
    assert MaskRules().weights(half)[0].tolist() == [[2.0] * 4 + [0.0] * 4] * 8
    assert MaskRules().weights(torch.ones(1, 8, 16)).tolist() == torch.ones(1, 8, 16).tolist()
    assert MaskRules().weights(torch.zeros(1, 2, 3)).tolist() == torch.ones(1, 2, 3).tolist()
    grey = torch.tensor([[[0.2, 0.6], [0.6, 0.6]]])  # mean 0.5
    assert MaskRules().weights(grey).flatten().tolist() == pytest.approx([0.4, 1.2, 1.2, 1.2])


def test_images_of_one_size_are_encoded_together_where_that_is_asked_for(
    pictures: tuple[TrainingImage, ...], tmp_path: Path
) -> None:
    """As many as have so many pixels; each gets its own latent, and the progress counts images."""
    alone = encode_images(pictures, RULES, Encoder(), None)
    encoder, reports, cache = Encoder(), [], tmp_path / "cache"
    heard = lambda *done: reports.append(done)  # noqa: E731
    (tmp_path / "cache").mkdir()
    together = [
        one for (one,) in encode_variants(pictures, RULES, encoder, cache, heard, pixels_at_once=2 * 64 * 64 + 1)
    ]
    assert encoder.calls == [2, 2, 1]
    assert reports == [(done, 5) for done in range(1, 6)]
    assert same(together, alone)
    assert same(encode_images(pictures, RULES, Encoder(), cache), alone)


def test_images_of_other_sizes_are_encoded_apart(pictures: tuple[TrainingImage, ...]) -> None:
    """Those of one size go together, also where others lie between them."""
    sizes = EncodeRules(FitRules(((64, 64), (64, 128))), "vae one")
    tall = []
    for picture in pictures[:2]:
        path = picture.path.with_name(f"tall {picture.path.name}")
        with Image.open(picture.path) as image:
            image.resize((64, 128)).save(path)
        tall.append(path)
    mixed = scan_images(pictures[0].path.parent, sizes.fit_rules).pictures
    order = [mixed[0], mixed[-1], mixed[1], mixed[-2]]
    encoder = Encoder()
    found = [one for (one,) in encode_variants(order, sizes, encoder, None, pixels_at_once=1 << 20)]
    assert sorted(encoder.calls) == [2, 2]
    assert [one.latent.mean.shape[1] for one in found] == [8, 16, 8, 16]
    assert same(found, encode_images(order, sizes, Encoder(), None))
