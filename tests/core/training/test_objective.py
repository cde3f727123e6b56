"""Noise, target and loss, against diffusers' schedulers and by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from tests.core.fake import WIDTH, Fake, dataset, examples, initial
from tinv_ext.core.data.dataset import Batch
from tinv_ext.core.data.image_fit import uncropped
from tinv_ext.core.data.masks import MaskRules
from tinv_ext.core.noise import NoiseSchedule, scaled_linear
from tinv_ext.core.training.forward import denoising_losses
from tinv_ext.core.training.objective import Objective

DIFFUSERS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def draws() -> tuple[Tensor, Tensor, Tensor]:
    """Latents, noise and the first, some and the last timestep."""
    rng = torch.Generator().manual_seed(4)
    shape = (5, 4, 3, 3)
    return torch.randn(shape, generator=rng), torch.randn(shape, generator=rng), torch.tensor([0, 1, 77, 500, 999])


def test_noise_is_added_as_diffusers_adds_it() -> None:
    """√ᾱ·x + √(1-ᾱ)·ε of Stable Diffusion's schedule, against DDPMScheduler."""
    latents, noise, timesteps = draws()
    theirs = DDPMScheduler(**DIFFUSERS)
    ours = NoiseSchedule(scaled_linear())
    assert torch.allclose(ours.alphas_cumprod, theirs.alphas_cumprod, rtol=2e-5)
    exact = NoiseSchedule(theirs.alphas_cumprod)
    assert torch.allclose(exact.add(latents, noise, timesteps), theirs.add_noise(latents, noise, timesteps), atol=1e-6)


def test_the_target_is_the_noise_or_its_velocity() -> None:
    """ε for a model of noise; for v-prediction what diffusers' `get_velocity` gives."""
    latents, noise, timesteps = draws()
    theirs = DDIMScheduler(prediction_type="v_prediction", **DIFFUSERS)
    velocity = NoiseSchedule(theirs.alphas_cumprod, "v_prediction")
    assert torch.allclose(
        velocity.target(latents, noise, timesteps), theirs.get_velocity(latents, noise, timesteps), atol=1e-6
    )
    assert torch.equal(NoiseSchedule(scaled_linear()).target(latents, noise, timesteps), noise)


def test_draws_are_uniform_in_time_and_standard_normal() -> None:
    """Every timestep is as likely, noise has mean 0 and deviation 1, both come from the generator given."""
    schedule = NoiseSchedule(scaled_linear())
    latents = torch.zeros(4000, 4, 2, 2)
    noise, timesteps = Objective().sample(latents, schedule, torch.Generator().manual_seed(1))
    again = Objective().sample(latents, schedule, torch.Generator().manual_seed(1))
    assert torch.equal(noise, again[0])
    assert torch.equal(timesteps, again[1])
    assert timesteps.dtype == torch.int64
    assert timesteps.min() >= 0
    assert timesteps.max() < 1000
    tenths = torch.bincount(timesteps // 100, minlength=10)
    assert (tenths - 400).abs().max() < 80  # four deviations
    assert abs(float(noise.mean())) < 0.02
    assert float(noise.std()) == pytest.approx(1.0, abs=0.02)


def losses(weights: Tensor | None, model: Fake | None = None) -> Tensor:
    """The loss of each of two examples, with weights (1, 2, 2) for the first of them."""
    model = model or Fake()
    rng = torch.Generator().manual_seed(9)
    latents, noise = torch.randn(2, 2, 4, 2, 2, generator=rng)
    rows = None if weights is None else torch.stack([weights, torch.ones(1, 2, 2)])
    prompts = tuple(dataset().reader.read(text) for text in ("it", "it , blue"))
    batch = Batch(latents, prompts, (uncropped(16, 16),) * 2, rows)
    words = {"it": {"clip_l": torch.full((2, WIDTH), 0.2)}}
    return denoising_losses(model, batch, words, noise, torch.tensor([100, 700]))


def test_weights_count_pixel_by_pixel_and_only_for_their_example() -> None:
    """Weights of one change nothing, 4 beside zeros is that pixel's own error, and other examples are untouched."""
    plain = losses(None)
    assert torch.equal(losses(torch.ones(1, 2, 2)), plain)
    corners = [losses(F.one_hot(torch.tensor(index), 4).view(1, 2, 2) * 4.0) for index in range(4)]
    assert torch.allclose(torch.stack(corners).mean(0), plain)
    assert not torch.allclose(corners[0][0], plain[0])
    assert all(torch.equal(corner[1], plain[1]) for corner in corners)


def test_opacity_weights_average_one() -> None:
    """A picture partly transparent counts as much as another; one wholly transparent counts everywhere."""
    half = MaskRules().weights(torch.tensor([[[1.0, 1.0], [0.0, 0.5]]]))
    assert float(half.mean()) == pytest.approx(1.0)
    assert float(half[0, 1, 0]) == 0.0
    assert torch.equal(MaskRules().weights(torch.zeros(1, 2, 2)), torch.ones(1, 2, 2))


def test_examples_with_and_without_weights_share_a_batch() -> None:
    """An opaque picture beside a transparent one has the weight one everywhere."""
    opacity = MaskRules().weights(torch.tensor([[[1.0, 1.0], [0.0, 0.5]]]))
    mixed = dataset([examples(1)[0], examples(1, opacity)[0]])
    state = initial()
    batch = mixed.batch(2, state.order, state.rng)
    assert batch.pixel_weights is not None
    assert batch.pixel_weights.shape == (2, 1, 2, 2)
    assert {tuple(row.flatten().tolist()) for row in batch.pixel_weights} == {
        (1.0,) * 4,
        tuple(opacity.flatten().tolist()),
    }
    assert dataset().batch(2, state.order, state.rng).pixel_weights is None
