"""Less memory and more precision in a diffusers pipeline, as a run asks for them in need; all of it put back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.hosts.checkpointing_probe import kept_bytes, own_forwards
from tests.hosts.diffusers import small_pipelines
from tinv_ext.core.data.dataset import Batch
from tinv_ext.core.data.image_fit import uncropped
from tinv_ext.core.model import Model
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.training.forward import denoising_losses
from tinv_ext.hosts.diffusers.host import DiffusersHost


def loss_of(model: Model) -> tuple[Tensor, list[Tensor]]:
    """The loss of a batch of two, and the vectors of the word."""
    rng = torch.Generator().manual_seed(0)
    word = Word("qzx", tuple(model.tokenizer.ids("qzx")), 2)
    vectors = {
        name: (torch.randn(2, width, generator=rng) * 0.1).requires_grad_() for name, width in model.widths.items()
    }
    prompts = tuple(PromptReader(model.tokenizer, (word,)).read(text) for text in ("a qzx", "qzx on a table"))
    batch = Batch(torch.randn(2, 4, 8, 8, generator=rng), prompts, (uncropped(64, 64),) * 2, None)
    noise = torch.randn(2, 4, 8, 8, generator=rng)
    loss = denoising_losses(model, batch, {"qzx": vectors}, noise, torch.tensor([501, 120])).mean()
    return loss, list(vectors.values())


def gradients(model: Model) -> list[Tensor]:
    """Of the vectors."""
    loss, vectors = loss_of(model)
    return list(torch.autograd.grad(loss, vectors))


@pytest.mark.parametrize("make", [small_pipelines.sd1, small_pipelines.sd2, small_pipelines.sdxl])
def test_gradient_checkpointing_keeps_less_and_gives_the_same_gradient(make: Callable[[], Any], tmp_path: Path) -> None:
    """Bit for bit the same; less than half of the memory; the functions of the UNet are its own again afterwards."""
    pipeline = make()
    host, unet = DiffusersHost(pipeline, tmp_path, {}), pipeline.unet
    before = own_forwards(unet)
    with host.training(1) as model:
        plain, (loss, vectors) = kept_bytes(unet, lambda: loss_of(model))
        right = torch.autograd.grad(loss, vectors)
        model.enable_gradient_checkpointing()
        checkpointed, (loss, vectors) = kept_bytes(unet, lambda: loss_of(model))
        found = torch.autograd.grad(loss, vectors)
    assert checkpointed < plain / 2, f"{checkpointed} of {plain} bytes"
    assert all(torch.equal(mine, other) for mine, other in zip(found, right))
    assert own_forwards(unet) == before


@pytest.mark.parametrize(
    "kind, steps",
    [("bf16", ["full precision"]), ("fp16", ["a smaller loss scale", "full precision"]), ("fp32", [])],
)
def test_more_precision_is_that_of_the_same_weights_in_float32(kind: str, steps: list[str], tmp_path: Path) -> None:
    """Step by step until there is none; afterwards every weight is bit for bit what it was."""
    pipeline = small_pipelines.sd1()
    host = DiffusersHost.placed(pipeline, tmp_path, {}, "cpu", kind)
    parts = {name: getattr(pipeline, name) for name in ("unet", "text_encoder", "vae")}
    weights = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
    with host.training(1) as model:
        scale = model.loss_scale
        assert (scale > 1) == (kind == "fp16")
        assert [model.upcast() for _ in steps] == steps
        assert model.upcast() is None
        assert (model.loss_scale, pipeline.unet.dtype) == (1.0, torch.float32)
        found = gradients(model)
    for name, part in parts.items():
        for key, value in part.state_dict().items():
            assert value.dtype == weights[name][key].dtype, f"{name} {key}"
            assert torch.equal(value, weights[name][key]), f"{name} {key}"
    plain = DiffusersHost.placed(copy.deepcopy(pipeline), tmp_path, {}, "cpu", "fp32")
    with plain.training(1) as model:
        assert all(torch.equal(mine, other) for mine, other in zip(found, gradients(model)))


def test_a_run_that_is_broken_off_is_put_back_too(tmp_path: Path) -> None:
    """Whatever it had given up by then."""
    pipeline = small_pipelines.sd1()
    host = DiffusersHost.placed(pipeline, tmp_path, {}, "cpu", "bf16")
    before = own_forwards(pipeline.unet)

    def break_off() -> None:
        with host.training(1) as model:
            model.enable_gradient_checkpointing()
            model.upcast()
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert own_forwards(pipeline.unet) == before
    assert pipeline.unet.dtype == torch.bfloat16
