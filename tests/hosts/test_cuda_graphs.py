"""A recorded UNet, with a recording that the CPU can do: the same buffers, filled anew by each repetition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.hosts.diffusers import small_pipelines
from tests.messages import said
from tinv_ext.hosts.cuda_graphs import GraphedUnet, Tensors
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tools.on_gpu.graphs import capture_by_repeating

MAKERS = [small_pipelines.sd1, small_pipelines.sdxl]


def capture(act: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
    """As CUDA's: what it gave at first is overwritten in place by each repetition."""
    repeat, results = capture_by_repeating(act)

    def replay() -> None:
        replays.append(len(results))
        repeat()

    return replay, results


replays: list[int] = []


def inputs(pipeline: Any, batch: int, seed: int) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor] | None]:
    """Noisy latents, timesteps, a context that wants a gradient, and what SDXL has besides."""
    rng = torch.Generator().manual_seed(seed)
    config = pipeline.unet.config
    context = torch.randn(batch, 77, config.cross_attention_dim, generator=rng).requires_grad_()
    added = None
    if config.addition_embed_type == "text_time":
        pooled = torch.randn(batch, small_pipelines.POOLED, generator=rng).requires_grad_()
        added = {"text_embeds": pooled, "time_ids": torch.full((batch, 6), 64.0)}
    timesteps = torch.randint(1000, (batch,), generator=rng)
    return torch.randn(batch, 4, 8, 8, generator=rng), timesteps, context, added


def results(call: Callable[..., Tensor], given: tuple[Any, ...]) -> list[Tensor]:
    """The answer, and two gradients of it in all that wants one."""
    answer = call(*given)
    wanted = [given[2], *([given[3]["text_embeds"]] if given[3] else [])]
    first = torch.autograd.grad(answer.square().sum(), wanted, retain_graph=True)
    return [answer.detach(), *first, *torch.autograd.grad(answer.sum(), wanted)]


@pytest.mark.parametrize("make", MAKERS)
def test_a_graph_gives_what_the_unet_gives(make: Callable[[], Any]) -> None:
    """Answer and gradients, bit for bit, for other values of the same shapes, two gradients of one answer, and where
    several shapes take turns."""
    pipeline = make()
    pipeline.unet.requires_grad_(False)
    told: list[str] = []
    graphed = GraphedUnet(pipeline.unet, told.append, capture)

    def plain(noisy: Tensor, timesteps: Tensor, context: Tensor, added: Any) -> Tensor:
        answer: Tensor = pipeline.unet(noisy, timesteps, context, added_cond_kwargs=added, return_dict=False)[0]
        return answer

    replays.clear()
    for batch, seed in ((1, 1), (2, 2), (1, 3), (2, 4)):
        found = results(graphed, inputs(pipeline, batch, seed))
        right = results(plain, inputs(pipeline, batch, seed))
        assert all(torch.equal(one, other) for one, other in zip(found, right))
    assert len(replays) == 4 * 3  # a forward and two backwards each
    assert len(graphed._graphs) == 2
    assert told == []
    graphed.clear()
    assert graphed._graphs == {}


def test_a_refused_recording_is_told_once_and_done_without() -> None:
    """Whatever the error, also where a module has hooks; what the UNet gives is the same."""

    def refuse(act: Callable[[], Tensors]) -> Any:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    pipeline = small_pipelines.sd1()
    told: list[Any] = []
    given = inputs(pipeline, 1, 1)
    right = pipeline.unet(*given[:3], return_dict=False)[0]
    graphed = GraphedUnet(pipeline.unet, told.append, refuse)
    assert torch.equal(graphed(*given), right)
    assert torch.equal(graphed(*given), right)
    assert len(told) == 1
    reason = "CUDA error: operation not permitted when stream is capturing"
    assert said(told, "hosts.no_cuda_graphs", reason=reason)
    hooked = GraphedUnet(pipeline.unet, told.append, capture)
    handle = pipeline.unet.conv_in.register_forward_hook(lambda module, given, output: output + 1)
    assert torch.equal(hooked(*given), pipeline.unet(*given[:3], return_dict=False)[0])
    handle.remove()
    assert len(told) == 2


def test_nothing_is_recorded_where_no_gradient_is_wanted() -> None:
    """Evaluation and previews."""
    pipeline = small_pipelines.sd1()
    graphed = GraphedUnet(pipeline.unet, print, capture)
    noisy, timesteps, context, added = inputs(pipeline, 1, 1)
    with torch.no_grad():
        graphed(noisy, timesteps, context, added)
    graphed(noisy, timesteps, context.detach(), added)
    assert graphed._graphs == {}


def test_a_gradient_that_comes_too_late_is_an_error() -> None:
    """Never the gradient of another call."""
    pipeline = small_pipelines.sd1()
    pipeline.unet.requires_grad_(False)
    graphed = GraphedUnet(pipeline.unet, print, capture)
    first = graphed(*inputs(pipeline, 1, 1))
    graphed(*inputs(pipeline, 1, 2))
    with pytest.raises(RuntimeError, match="called again"):
        first.sum().backward()


def test_off_a_gpu_nothing_is_recorded(tmp_path: Path) -> None:
    """The flag may be on all the same."""
    host = DiffusersHost.placed(small_pipelines.sd1(), tmp_path, {}, "cpu", "fp32", cuda_graphs=True)
    with host.training(1) as model:
        assert model._graphed is None  # type: ignore[attr-defined]
