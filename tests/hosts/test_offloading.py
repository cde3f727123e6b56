"""Frozen weights in the machine's own memory: the same numbers, one weight at a time on the device, all put back.

There is no GPU here, so the device is the CPU, too; what is fetched is a copy there as well.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.hosts.checkpointing_probe import own_forwards
from tests.hosts.diffusers import small_pipelines
from tests.hosts.test_checkpointing import gradients
from tinv_ext.core.generation import ImageRequest
from tinv_ext.hosts import offloading
from tinv_ext.hosts.diffusers import placing
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.hosts.diffusers.pipelines import texts_of
from tinv_ext.hosts.offloading import offloaded, place_offloaded
from tools.on_gpu.live_bytes import LiveBytes

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small_weights_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small models have none that is large."""
    monkeypatch.setattr(offloading, "_LEAST", 512)


def weights_of(pipeline: Any) -> dict[str, Tensor]:
    """All of UNet and text encoders."""
    parts = (pipeline.unet, *texts_of(pipeline))
    return {f"{n} {name}": weight for n, part in enumerate(parts) for name, weight in part.named_parameters()}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("make", [small_pipelines.sd1, small_pipelines.sd2, small_pipelines.sdxl])
def test_the_gradient_is_the_same_bit_for_bit(make: Callable[[], Any], checkpointing: bool, tmp_path: Path) -> None:
    """Also with gradient checkpointing; afterwards weights and functions are what they were."""
    pipeline = make()
    parts, before = (pipeline.unet, *texts_of(pipeline)), own_forwards(pipeline.unet)
    weights = {name: weight.clone() for name, weight in weights_of(pipeline).items()}
    with DiffusersHost(pipeline, tmp_path, {}).training(1) as model:
        right = gradients(model)
        if checkpointing:
            model.enable_gradient_checkpointing()
        with offloaded(parts, CPU) as any_moved:
            assert any_moved
            found = gradients(model)
            assert all(torch.equal(one, other) for one, other in zip(found, right))
        assert all(torch.equal(one, other) for one, other in zip(gradients(model), right))
    assert own_forwards(pipeline.unet) == before
    assert all(torch.equal(weight, weights[name]) for name, weight in weights_of(pipeline).items())


def test_no_more_than_one_weight_is_on_the_device() -> None:
    """Neither in forward nor in backward: of a stack of layers, the fetched weights are gone one by one."""
    width, depth = 256, 12
    layers = nn.Sequential(*(nn.Linear(width, width) for _ in range(depth))).requires_grad_(False)
    given = torch.randn(2, width, requires_grad=True)
    one = width * width * 4
    with offloaded([layers], CPU), LiveBytes() as alive:
        alive.count(layers.parameters())
        before = alive.now
        layers(given).sum().backward()
        assert one < alive.peak - before < 2 * one
    with LiveBytes() as alive:
        copies = [layer.weight.clone() for layer in layers]  # what keeping them would take
        assert alive.peak >= depth * one
        del copies


def test_what_is_trained_or_small_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so does a layer without a weight of its own."""
    monkeypatch.setattr(offloading, "_LEAST", 100)
    trained, small, odd = nn.Linear(20, 20), nn.Linear(5, 5).requires_grad_(False), nn.Linear(20, 20)
    del odd.weight
    with offloaded([trained, small, odd], CPU) as any_moved:
        assert not any_moved
        assert not any("forward" in layer.__dict__ for layer in (trained, small, odd))


def test_all_is_put_back_where_it_fails_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's memory runs out at the third layer."""
    layers = nn.Sequential(*(nn.Linear(32, 32) for _ in range(4))).requires_grad_(False)
    given, count = torch.randn(1, 32), 0
    right, real = layers(given), offloading._in_main_memory

    def full(*of: Any) -> Tensor:
        nonlocal count
        count += 1
        if count == 3:
            raise MemoryError
        return real(*of)

    monkeypatch.setattr(offloading, "_in_main_memory", full)
    with pytest.raises(MemoryError), offloaded([layers], CPU):
        raise AssertionError("nothing was moved")
    assert not any("forward" in layer.__dict__ for layer in layers)
    assert torch.equal(layers(given), right)


def test_a_model_larger_than_the_device_trains_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is placed all but its large weights; gradient and image are those of the whole one, bit for bit."""
    request = ImageRequest("a photo", "", 2, 3.0, 1, 64, 64)
    whole = DiffusersHost(small_pipelines.sd1(), tmp_path, {})
    with whole.training(1) as model:
        right = gradients(model)
    image = whole.generate(request, {})
    pipeline = small_pipelines.sd1()
    place_offloaded((pipeline.unet, *texts_of(pipeline)), CPU)
    assert any("forward" in layer.__dict__ for layer in pipeline.unet.modules())
    spread = DiffusersHost(pipeline, tmp_path, {})
    with spread.training(1) as model:
        model.enable_gradient_checkpointing()
        assert all(torch.equal(one, other) for one, other in zip(gradients(model), right))
    assert spread.generate(request, {}).tobytes() == image.tobytes()


def test_it_is_placed_so_where_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """And only then: any other error goes on."""
    placed: list[str] = []
    monkeypatch.setattr(placing, "place_offloaded", lambda parts, device: placed.append(str(device)))
    pipeline, device = small_pipelines.sd1(), torch.device("cuda", 0)
    monkeypatch.setattr(type(pipeline.vae), "to", lambda self, *given, **options: self)

    def moving(trouble: Exception) -> Callable[..., Any]:
        def to(where: Any) -> None:
            if torch.device(where) == device:
                raise trouble

        return to

    pipeline.to = moving(torch.cuda.OutOfMemoryError("CUDA out of memory."))
    assert not placing._moved(pipeline, device)
    assert placed == ["cuda:0"]
    pipeline.to = moving(RuntimeError("no kernel image"))
    with pytest.raises(RuntimeError, match="no kernel image"):
        placing._moved(pipeline, device)
    assert len(placed) == 1


def test_weights_are_not_locked_where_the_system_lets_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slower, but there; what else goes wrong goes on."""
    weight, empty_like = torch.randn(2, 2), torch.empty_like

    def refusing(trouble: str) -> Callable[..., Tensor]:
        def made(like: Tensor, *, device: str, pin_memory: bool = False) -> Tensor:
            if pin_memory:
                raise RuntimeError(trouble)
            return empty_like(like, device=device)

        return made

    monkeypatch.setattr(torch, "empty_like", refusing("CUDA error: out of memory"))
    assert torch.equal(offloading._in_main_memory(weight, torch.device("cuda")), weight)
    monkeypatch.setattr(torch, "empty_like", refusing("CUDA error: unspecified launch failure"))
    with pytest.raises(RuntimeError, match="launch failure"):
        offloading._in_main_memory(weight, torch.device("cuda"))


def test_a_weight_that_is_taken_from_its_layer_stays() -> None:
    """As by torch's attention, which OpenCLIP has in the WebUI: nobody calls the layer, so nobody would fetch it."""
    attention, linear = nn.MultiheadAttention(32, 4).requires_grad_(False), nn.Linear(32, 32).requires_grad_(False)
    with offloaded([nn.Sequential(attention, linear)], CPU):
        assert "forward" in linear.__dict__
        assert not any("forward" in module.__dict__ for module in attention.modules())
