"""The VAE's latents are numbers, in half precision too."""

from __future__ import annotations

import pytest
import torch

from tests.hosts.diffusers.small_pipelines import sd1
from tinv_ext.hosts.vae import encode, encoder_digest


@pytest.fixture
def overflowing() -> torch.nn.Module:
    """A VAE in float16 whose first layer makes bright images too large for it: 300·200 is, 0.3·200 is not."""
    vae = sd1().vae
    with torch.no_grad():
        vae.encoder.conv_in.weight.fill_(3000.0)
        vae.encoder.conv_in.bias.zero_()
    return vae.half()


def test_an_image_that_overflows_is_encoded_in_full_precision(overflowing: torch.nn.Module) -> None:
    """It alone; the others stay as they are, and the VAE is in half precision again."""
    pixels = torch.stack([torch.full((3, 16, 16), value) for value in (0.01, 1.0, -0.02)])
    assert not bool(torch.isfinite(overflowing.quant_conv(overflowing.encoder(pixels.half())))[1].all())
    before = encoder_digest(overflowing, 1.0)
    found = encode(overflowing, pixels, 0.5)
    assert encoder_digest(overflowing, 1.0) == before
    assert bool(torch.isfinite(found.mean).all())
    assert bool(torch.isfinite(found.std).all())
    assert found.mean.dtype == torch.float32
    kept = encode(overflowing, pixels[[0, 2]], 0.5)
    torch.testing.assert_close(found.mean[[0, 2]], kept.mean, atol=2e-3, rtol=2e-3)
    right = encode(overflowing.float(), pixels, 0.5)
    torch.testing.assert_close(found.mean[1], right.mean[1])
    torch.testing.assert_close(found.std[1], right.std[1])


def test_what_is_no_number_in_full_precision_either_is_given_as_it_is(overflowing: torch.nn.Module) -> None:
    """The caller tells which image it was."""
    found = encode(overflowing, torch.tensor([0.01, float("nan")]).view(2, 1, 1, 1).expand(2, 3, 16, 16), 1.0)
    assert torch.isfinite(found.mean).flatten(1).all(1).tolist() == [True, False]


def test_latents_are_those_of_the_vae_itself() -> None:
    """Mean and standard deviation of its own distribution, scaled."""
    vae = sd1().vae
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    found, own = encode(vae, pixels, 0.18215), vae.encode(pixels).latent_dist
    torch.testing.assert_close(found.mean, own.mean * 0.18215)
    torch.testing.assert_close(found.std, own.std * 0.18215)
