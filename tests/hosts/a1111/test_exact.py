"""The WebUI's host computes what the diffusers host computes: condition, loss and gradient, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.hosts.a1111.ldm_model import needs_ldm
from tinv_ext.core.data.dataset import Batch
from tinv_ext.core.data.image_fit import uncropped
from tinv_ext.core.model import Model
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.training.forward import denoising_losses, encode_prompts
from tinv_ext.hosts.cuda_graphs import Graphs
from tools.on_gpu.repeating import capture_by_repeating

pytestmark = needs_ldm
CLOSE = 1e-4  # relative, in float32: the two do the same sums in another order (4e-7 was seen)
TEXTS = ("a photo of qzx on a red background", "qzx, " + "a drawing of a thing, " * 20)


def relative(mine: Tensor, right: Tensor) -> float:
    """Distance in units of what is right."""
    return float((mine - right).norm() / right.norm())


def measure(model: Model, texts: tuple[str, ...] = TEXTS, timestep: int = 501) -> tuple[Tensor, Tensor, Tensor]:
    """Condition, loss and the gradient in the two vectors of the word."""
    rng = torch.Generator().manual_seed(0)
    word = Word("qzx", tuple(model.tokenizer.ids("qzx")), 2)
    (width,) = model.widths.values()
    vectors = (torch.randn(2, width, generator=rng) * 0.1).requires_grad_()
    prompts = tuple(PromptReader(model.tokenizer, (word,)).read(text) for text in texts)
    size_conds = (uncropped(64, 64),) * len(texts)
    batch = Batch(torch.randn(len(texts), 4, 8, 8, generator=rng), prompts, size_conds, None)
    noise = torch.randn(batch.latents.shape, generator=rng)
    words = {"qzx": {"clip_l": vectors}}
    timesteps = torch.tensor([timestep] * (len(texts) - 1) + [120])
    loss = denoising_losses(model, batch, words, noise, timesteps).mean()
    (gradient,) = torch.autograd.grad(loss, vectors)
    return encode_prompts(model, prompts, words, size_conds).context.detach(), loss.detach(), gradient


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_condition_loss_and_gradient_are_those_of_diffusers(webui: Any, reference: Any, clip_skip: int) -> None:
    """Two very different implementations of one model agree, with words, long prompts and clip skip."""
    with webui.host.training(clip_skip) as mine, reference.training(clip_skip) as right:
        for found, expected in zip(measure(mine), measure(right)):
            assert relative(found, expected) < CLOSE


@pytest.mark.parametrize(
    "change",
    [
        lambda model: measure(model, ("a photo of qzx on a blue background", TEXTS[1])),
        lambda model: measure(model, timestep=502),
    ],
    ids=["one token", "one timestep"],
)
def test_the_comparison_sees_a_small_mistake(
    webui: Any, reference: Any, change: Callable[[Model], tuple[Tensor, Tensor, Tensor]]
) -> None:
    """One other token or one other timestep is beyond the tolerance, so agreement within it means something."""
    with webui.host.training(1) as mine, reference.training(1) as right:
        expected = measure(right)
        _, loss, gradient = change(mine)
    assert relative(loss, expected[1]) > CLOSE
    assert relative(gradient, expected[2]) > CLOSE


def test_emphasis_is_that_of_diffusers(webui: Any, reference: Any) -> None:
    """Brackets weigh the same."""
    with webui.host.training(1) as mine, reference.training(1) as right, torch.no_grad():
        reader = PromptReader(mine.tokenizer, emphasis=True)
        prompt = reader.read("a (red:1.4) circle [on] a background")
        found, expected = (encode_prompts(model, [prompt], {}, [uncropped(64, 64)]) for model in (mine, right))
    assert relative(found.context, expected.context) < CLOSE


def test_latents_are_those_of_diffusers(webui: Any, reference: Any) -> None:
    """Mean and standard deviation, scaled."""
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with webui.host.training(1) as mine, reference.training(1) as right:
        found, expected = mine.encode_images(pixels), right.encode_images(pixels)
    assert relative(found.mean, expected.mean) < CLOSE
    assert relative(found.std, expected.std) < CLOSE


def test_the_noise_is_the_models_own(webui: Any) -> None:
    """A coarser copy that a generation left in its place is not trained on."""
    sd_model = webui.shared.sd_model
    right = sd_model.alphas_cumprod.clone()
    sd_model.alphas_cumprod = sd_model.alphas_cumprod.half()
    with webui.host.training(1) as model:
        assert torch.equal(model.noise.alphas_cumprod, right)
        assert model.noise.prediction == "epsilon"
    sd_model.parameterization = "v"
    with webui.host.training(1) as model:
        assert model.noise.prediction == "v_prediction"


def test_tokens_and_their_vectors_are_those_of_diffusers(webui: Any, reference: Any) -> None:
    """The same tables, by the same ids."""
    mine, right = webui.host.token_table, reference.token_table
    ids = mine.tokenizer.ids("a purple moon")
    assert ids == right.tokenizer.ids("a purple moon")
    assert torch.equal(mine.token_vectors(ids)["clip_l"], right.token_vectors(ids)["clip_l"])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_recorded_it_is_the_same(webui: Any, checkpointing: bool) -> None:
    """UNet and text encoder through buffers, as a CUDA graph has them, with another batch's shape in between."""
    with webui.host.training(2) as model:
        if checkpointing:
            model.enable_gradient_checkpointing()
        right = measure(model)
        told: list[str] = []
        model._graphs = Graphs(model._graphs._modules, capture_by_repeating, told.append)
        measure(model, TEXTS[:1])
        for _ in range(2):
            assert all(torch.equal(found, expected) for found, expected in zip(measure(model), right))
        assert told == []
        assert set(model._graphs._parts) == {"clip_l", "unet"}
