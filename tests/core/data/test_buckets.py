"""Pictures of many shapes: the sizes they come to, and batches of one shape that see all pictures equally often."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from tests.core.fake import SUBSET, Fake, dataset, examples, initial
from tinv_ext.core.data.buckets import bucket_sizes, nearest
from tinv_ext.core.data.dataset import Example
from tinv_ext.core.data.image_fit import FitRules, uncropped
from tinv_ext.core.data.images import scan_images
from tinv_ext.core.data.latents import EncodeRules, LatentDistribution, encode_images
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.evaluation import evaluate, make_eval_set
from tinv_ext.core.training.forward import denoising_losses

SIDES = st.integers(8, 256).map(lambda units: units * 8)


# --- which sizes ----------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None, derandomize=True)
@given(SIDES, SIDES, st.sampled_from([8, 16, 32, 64]))
def test_buckets_have_at_most_as_many_pixels_and_fill_them(width: int, height: int, step: int) -> None:
    """Multiples of the step, no side beyond twice or half the root of the area, none that a larger one contains."""
    sizes = bucket_sizes(width, height, step)
    root = math.sqrt(width * height)
    assert (width, height) in sizes
    assert len(set(sizes)) == len(sizes)
    for wide, high in set(sizes) - {(width, height)}:
        assert wide % step == high % step == 0
        assert wide * high <= width * height
        assert root / 2 <= min(wide, high) <= max(wide, high) <= root * 2
        longer = (wide + step) * high > width * height or wide + step > root * 2
        higher = wide * (high + step) > width * height or high + step > root * 2
        assert longer or higher


def test_the_buckets_of_sdxl_are_the_usual_ones() -> None:
    """The shapes that SDXL's users know are among them (Podell et al. 2023, appendix I)."""
    sizes = bucket_sizes(1024, 1024, 64)
    assert {(1024, 1024), (832, 1216), (1216, 832), (896, 1152), (768, 1344), (1344, 768), (640, 1536)} <= set(sizes)


@pytest.mark.parametrize(
    ("picture", "size"),
    [((3000, 3000), (512, 512)), ((3000, 2000), (640, 384)), ((200, 1000), (256, 1024)), ((1000, 600), (640, 384))],
)
def test_a_picture_comes_to_the_nearest_shape(picture: tuple[int, int], size: tuple[int, int]) -> None:
    """By the ratio of its sides, whichever way."""
    assert nearest(*picture, bucket_sizes(512, 512, 64)) == size
    assert nearest(*picture[::-1], bucket_sizes(512, 512, 64)) == size[::-1]


def test_without_buckets_there_is_one_size() -> None:
    """Whatever the shape of a picture."""
    assert TrainConfig(width=64, height=96).fit_rules.sizes == ((64, 96),)
    assert len(TrainConfig(width=512, height=512, resize_mode="buckets").fit_rules.sizes) > 10
    assert TrainConfig(width=512, height=512, resize_mode="buckets", bucket_step=512).fit_rules.sizes == ((512, 512),)
    assert nearest(10, 1000, ((64, 96),)) == (64, 96)


# --- encoded ----------------------------------------------------------------------------------------------------------


def test_each_picture_is_encoded_at_its_own_size(tmp_path: Path) -> None:
    """One by one, each with the size conditioning that is true of it, and kept on disk by that size."""
    rng = np.random.default_rng(0)
    shapes = [(64, 64), (128, 32), (65, 63), (40, 160), (130, 33)]
    for index, (width, height) in enumerate(shapes):
        noise = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{index}.png")
    sizes = bucket_sizes(64, 64, 32)
    pictures = scan_images(tmp_path, FitRules(sizes)).pictures
    asked: list[tuple[int, ...]] = []

    def encode(pixels: Tensor) -> LatentDistribution:
        asked.append(tuple(pixels.shape))
        mean = torch.nn.functional.avg_pool2d(pixels, 8)
        return LatentDistribution(mean, torch.ones_like(mean))

    rules = EncodeRules(FitRules(sizes), "vae")
    found = [item for (item,) in encode_images(pictures, rules, encode, tmp_path / "cache")]
    assert sorted(asked) == [*[(1, 3, 32, 128)] * 2, *[(1, 3, 64, 64)] * 2, (1, 3, 128, 32)]
    assert [tuple(item.latent.mean.shape[1:]) for item in found] == [(8, 8), (4, 16), (8, 8), (16, 4), (4, 16)]
    for item, picture, (width, height) in zip(found, pictures, shapes):
        assert item.size_cond.target == rules.fit_rules.size_of(*picture.size)[::-1]
        assert item.size_cond.original == (height, width)
        assert item.size_cond.target == (item.latent.mean.shape[1] * 8, item.latent.mean.shape[2] * 8)
    encode_images(pictures, rules, encode, tmp_path / "cache")
    assert len(asked) == 5


# --- drawn ------------------------------------------------------------------------------------------------------------


def of_shapes(counts: dict[tuple[int, int], int]) -> list[Example]:
    """Examples with latents of these shapes, each of its own value."""
    shapes = [shape for shape, count in counts.items() for _ in range(count)]
    return [
        Example(
            f"{index}.png",
            LatentDistribution(torch.full((4, *shape), float(index)), torch.zeros(4, *shape)),
            "blue",
            uncropped(shape[1] * 8, shape[0] * 8),
            SUBSET,
        )
        for index, shape in enumerate(shapes)
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_batches_have_one_shape_and_all_pictures_come_equally_often(size: int) -> None:
    """Also a lone picture of its shape, which fills a batch with visits that it then does not make later."""
    pictures = of_shapes({(2, 2): 5, (2, 4): 3, (4, 2): 1})
    state, data = initial(), dataset(pictures)
    seen: Counter[int] = Counter()
    for visits in range(1, 300):
        batch = data.batch(size, state.order, state.rng)
        assert len({tuple(size_cond.target) for size_cond in batch.size_conds}) == 1
        assert batch.size_conds[0].target == (batch.latents.shape[2] * 8, batch.latents.shape[3] * 8)
        seen.update(int(latent[0, 0, 0]) for latent in batch.latents)
        assert sum(seen.values()) == visits * size
    assert max(seen[index] for index in range(9)) - min(seen[index] for index in range(9)) <= size + 1
    assert len(state.order.numbers()) <= (size + 1) * len(pictures)


def test_one_shape_is_drawn_as_it_was_before_there_were_buckets() -> None:
    """The next of the order, which is filled up by whole rounds."""
    state, data = initial(), dataset(examples(5), "deterministic")
    again = initial()
    order: list[int] = []
    for _ in range(7):
        while len(order) < 3:
            order += torch.randperm(5, generator=again.rng).tolist()
        now, order = order[:3], order[3:]
        assert state.order.next(3, data._shapes, state.rng) == now
        assert state.order.numbers() == order


def test_a_probe_measures_all_shapes() -> None:
    """Each example at its own size, timesteps spread over all; the mean is that over all of them, however cut."""
    pictures = of_shapes({(2, 2): 3, (2, 4): 2})
    model, reader = Fake(), dataset().reader
    probe = make_eval_set(pictures, reader, model.noise, draws=2, seed=2)
    assert [tuple(batch.latents.shape) for batch in probe.batches] == [(6, 4, 2, 2), (4, 4, 2, 4)]
    assert sorted(torch.cat(probe.timesteps).tolist()) == list(range(50, 1000, 100))
    words = {"it": {"clip_l": torch.full((2, 6), 0.2)}}
    each = [
        denoising_losses(model, batch, words, noise, timesteps)
        for batch, noise, timesteps in zip(probe.batches, probe.noises, probe.timesteps)
    ]
    expected = float(torch.cat(each).double().mean())
    assert evaluate(model, probe, words) == pytest.approx(expected)
    assert evaluate(model, probe, words, batch_size=1) == pytest.approx(expected, rel=1e-6)


def test_opacity_weights_of_each_shape_stack() -> None:
    """A batch of one shape has weights of that shape."""
    pictures = [
        replace(item, pixel_weights=torch.ones(1, *item.latent.mean.shape[1:])) for item in of_shapes({(2, 4): 2})
    ]
    state = initial()
    batch = dataset([*pictures, *of_shapes({(4, 4): 2})]).batch(2, state.order, state.rng)
    assert batch.pixel_weights is None or batch.pixel_weights.shape == (2, 1, 2, 4)
