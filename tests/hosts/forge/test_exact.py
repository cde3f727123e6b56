"""Forge's host computes what the diffusers host computes: condition, loss and gradient, with the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.hosts.a1111.ldm_model import needs_ldm
from tests.hosts.a1111.test_exact import CLOSE, TEXTS, measure, relative
from tests.hosts.forge.forge_program import attention_sage, rescale_zero_terminal_snr_sigmas, store_in
from tinv_ext.core.generation import ImageRequest
from tinv_ext.hosts.cuda_graphs import Graphs
from tools.on_gpu.repeating import capture_by_repeating

pytestmark = needs_ldm
REQUEST = ImageRequest("a photo of qzx", "", 3, 3.0, 1, 64, 64)


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_condition_loss_and_gradient_are_those_of_diffusers(forge: Any, reference: Any, clip_skip: int) -> None:
    """Although everything was loaded under inference mode, blocks add in place, and tokens are in half precision."""
    host = forge.new_host()
    with host.training(clip_skip) as mine, reference.training(clip_skip) as right:
        for found, expected in zip(measure(mine), measure(right)):
            assert relative(found, expected) < CLOSE


@pytest.mark.parametrize("left", ["lora", "image before", "image in the midst", "attention", "checkpointing"])
def test_what_images_leave_behind_changes_no_gradient(forge: Any, left: str) -> None:
    """A LoRA that stays merged, weights that have become inference tensors again, attention without a backward."""
    host = forge.new_host()
    with host.training(1) as model:
        right = measure(model)
    if left == "lora":
        forge.program.engine.wear_lora()
    if left in ("lora", "image before"):
        host.generate(REQUEST, {})
    if left == "attention":
        forge.program.unet_module.attention_function = attention_sage
    with host.training(1) as model:
        if left == "image in the midst":
            host.generate(REQUEST, {})
            assert any(weight.is_inference() for weight in forge.program.engine.modules()[0].parameters())
        if left == "checkpointing":
            model.enable_gradient_checkpointing()
        found = measure(model)
    assert all(relative(a, b) < 1e-6 for a, b in zip(found, right))


def test_recorded_it_is_the_same_also_after_an_image(forge: Any) -> None:
    """UNet and text encoder through buffers, as a CUDA graph has them; an image moves the weights, so that they are
    recorded again."""
    host = forge.new_host()
    with host.training(1) as model:
        right = measure(model)
        told: list[str] = []
        model._parts.graphs = model._graphs = Graphs(model._graphs._modules, capture_by_repeating, told.append)
        for _ in range(2):
            assert all(torch.equal(found, expected) for found, expected in zip(measure(model), right))
        assert told == []
        recorded = dict(model._graphs._parts)
        assert set(recorded) == {"clip_l", "unet"}
        host.generate(REQUEST, {})
        assert model._graphs._parts == {}
        for _ in range(2):
            assert all(relative(found, expected) < 1e-6 for found, expected in zip(measure(model), right))
        assert set(model._graphs._parts) == set(recorded)
        assert told == []


def test_latents_are_those_of_diffusers(forge: Any, reference: Any) -> None:
    """Mean and standard deviation, scaled; the digest is the VAE's."""
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with forge.new_host().training(1) as mine, reference.training(1) as right:
        found, expected = mine.encode_images(pixels), right.encode_images(pixels)
        assert len(mine.vae_digest) == 64
    assert relative(found.mean, expected.mean) < CLOSE
    assert relative(found.std, expected.std) < CLOSE


def test_the_noise_is_the_models_own(forge: Any) -> None:
    """Velocity where the model predicts it; zero terminal SNR where settings or checkpoint ask for it."""
    host, engine = forge.new_host(), forge.program.engine
    predictor = engine.forge_objects_original.unet.model.predictor
    with host.training(1) as model:
        assert torch.equal(model.noise.alphas_cumprod, predictor.alphas_cumprod)
        assert model.noise.prediction == "epsilon"
    predictor.prediction_type, engine.model_config.ztsnr = "v_prediction", True
    with host.training(1) as model:
        assert model.noise.prediction == "v_prediction"
        alphas = predictor.alphas_cumprod
        sigmas = rescale_zero_terminal_snr_sigmas(((1 - alphas) / alphas).sqrt())
        assert torch.allclose(model.noise.alphas_cumprod, 1 / (sigmas**2 + 1))
        assert float(model.noise.alphas_cumprod[-1]) < 1e-6
    assert host.native_size == 512  # SD1 has one size for both


def test_more_precision_is_full_precision(forge: Any) -> None:
    """A UNet in half precision, when its gradients overflow: float32 for the run, and its own type afterwards."""
    k_model = forge.program.engine.forge_objects_original.unet.model
    with torch.inference_mode():
        k_model.half()
    k_model.computation_dtype = torch.float16
    host = forge.new_host()
    before = [weight.detach().clone() for weight in k_model.parameters()]
    with host.training(1) as model:
        assert model.loss_scale == 1024
        steps = [model.upcast(), model.upcast(), model.upcast()]
        assert [step is None for step in steps] == [False, False, True]
        assert model.loss_scale == 1
        assert all(bool(torch.isfinite(part).all()) for part in measure(model, TEXTS))
    assert k_model.computation_dtype == torch.float16
    assert all(torch.equal(weight, old) for weight, old in zip(k_model.parameters(), before))


@pytest.mark.parametrize(
    ("stored", "least", "most"),  # the toy is shipped in half precision
    [(torch.float16, 0.0, 0.0), (torch.bfloat16, 1e-4, 0.1), (torch.float8_e4m3fn, 1e-2, 0.6)],
    ids=["f16", "bf16", "fp8"],
)
def test_low_bit_weights_give_the_gradient_of_what_they_hold(
    forge: Any, reference: Any, stored: torch.dtype, least: float, most: float
) -> None:
    """ "Diffusion in Low Bits": layers cast what is stored to the type that is computed in, in each forward.

    The gradient is that of a float32 model with the rounded weights, and far from it only as the rounding is.
    """
    host = forge.new_host()
    unet = forge.program.engine.forge_objects_original.unet.model.diffusion_model
    with host.training(1) as model:
        exact = measure(model)
    with torch.inference_mode():
        store_in(unet, stored)
    with host.training(1) as model:
        found = measure(model)
        assert {layer.weight.dtype for layer in unet.modules() if isinstance(layer, torch.nn.Linear)} == {stored}
    with torch.inference_mode():
        store_in(unet, torch.float32)
    with host.training(1) as model:
        rounded = measure(model)
    assert all(relative(a, b) < 1e-6 for a, b in zip(found, rounded))
    assert least <= relative(found[2], exact[2]) <= most


def test_tokens_are_those_of_diffusers(forge: Any, reference: Any) -> None:
    """The same ids, and the same vectors as far as half precision has them."""
    mine, right = forge.new_host().token_table, reference.token_table
    ids = mine.tokenizer.ids("a purple moon")
    assert ids == right.tokenizer.ids("a purple moon")
    found, expected = (table.token_vectors(ids)["clip_l"] for table in (mine, right))
    assert found.dtype == torch.float32
    assert relative(found, expected) < 1e-3
