"""A recorded UNet, with a recording that the CPU can do: the same buffers, filled anew by each repetition."""

from __future__ import annotations

import gc
import weakref
from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.sides import sampled, work
from preload import preload
from tests.hosts.diffusers import small_pipelines
from tests.messages import said
from tinv_ext.core.model import Tensors
from tinv_ext.core.training.forward import denoising_losses
from tinv_ext.hosts import cuda_graphs
from tinv_ext.hosts.cuda_graphs import Capture, Forget, Graphs
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.hosts.diffusers.pipelines import texts_of
from tinv_ext.hosts.webui.program import may_record_graphs
from tools.on_gpu.repeating import capture_by_repeating

MAKERS = [small_pipelines.sd1, small_pipelines.sdxl]


def capture(act: Callable[[], Tensors], forget: Forget, pool: Any) -> tuple[Callable[[], None], Tensors]:
    """As CUDA's: what it gave at first is overwritten in place by each repetition."""
    repeat, results = capture_by_repeating(act, forget, pool)

    def replay() -> None:
        replays.append(len(results))
        repeat()

    return replay, results


replays: list[int] = []


def unet_of(pipeline: Any) -> Callable[..., Tensors]:
    """The UNet as a part: tensors in, tensors out."""
    pipeline.unet.requires_grad_(False)

    def unet(noisy: Tensor, timesteps: Tensor, context: Tensor, *others: Tensor) -> Tensors:
        added = dict(zip(("text_embeds", "time_ids"), others)) if others else None
        return (pipeline.unet(noisy, timesteps, context, added_cond_kwargs=added, return_dict=False)[0],)

    return unet


def inputs(pipeline: Any, batch: int, seed: int) -> Tensors:
    """Noisy latents, timesteps, a context that wants a gradient, and what SDXL has besides."""
    rng = torch.Generator().manual_seed(seed)
    config = pipeline.unet.config
    context = torch.randn(batch, 77, config.cross_attention_dim, generator=rng).requires_grad_()
    added: Tensors = ()
    if config.addition_embed_type == "text_time":
        pooled = torch.randn(batch, small_pipelines.POOLED, generator=rng).requires_grad_()
        added = (pooled, torch.full((batch, 6), 64.0))
    timesteps = torch.randint(1000, (batch,), generator=rng)
    return torch.randn(batch, 4, 8, 8, generator=rng), timesteps, context, *added


def results(call: Callable[..., Tensors], given: Tensors) -> list[Tensor]:
    """The answer, and two gradients of it in all that wants one."""
    (answer,) = call(*given)
    wanted = [one for one in given if one.requires_grad]
    first = torch.autograd.grad(answer.square().sum(), wanted, retain_graph=True)
    return [answer.detach(), *first, *torch.autograd.grad(answer.sum(), wanted)]


@pytest.mark.parametrize("make", MAKERS)
def test_a_graph_gives_what_its_part_gives(make: Callable[[], Any]) -> None:
    """Answer and gradients, bit for bit, for other values of the same shapes, two gradients of one answer, and where
    several shapes take turns."""
    pipeline = make()
    unet = unet_of(pipeline)
    told: list[str] = []
    graphs = Graphs((pipeline.unet,), capture, told.append)
    for batch, seed in ((1, 1), (2, 2)):
        graphs.call("unet", unet, inputs(pipeline, batch, seed))
    replays.clear()
    for batch, seed in ((1, 3), (2, 4), (1, 5)):
        found = results(partial(in_turn, graphs, unet), inputs(pipeline, batch, seed))
        right = results(unet, inputs(pipeline, batch, seed))
        assert all(torch.equal(one, other) for one, other in zip(found, right))
    assert len(replays) == 3 * 3  # a forward and two backwards each
    assert len(graphs._parts["unet"].graphs) == 2
    assert told == []
    graphs.clear()
    assert graphs._parts == {}


def in_turn(graphs: Graphs, part: Callable[..., Tensors], *given: Tensor) -> Tensors:
    """The part through a graph."""
    return graphs.call("unet", part, given)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_steps_of_a_host_are_the_same(make: Callable[[], Any], checkpointing: bool, tmp_path: Path) -> None:
    """Text encoders and UNet recorded, also with gradient checkpointing: the word's gradient of several batches is bit
    for bit that without graphs, and nothing is told."""
    found = {}
    for recorded in (False, True):
        told: list[str] = []
        it = work(make(), 64, 2)
        with it.host.training(1) as model:
            parts = (it.pipeline.unet, *texts_of(it.pipeline))
            model._graphs = Graphs(parts, capture if recorded else None, told.append)  # type: ignore[attr-defined]
            if checkpointing:
                model.enable_gradient_checkpointing()
            for seed in (1, 2, 3):
                batch, noise, timesteps = sampled(it, seed)
                losses = denoising_losses(model, batch, it.state.vectors, noise, timesteps)
                found[recorded, seed] = torch.autograd.grad(losses.mean(), it.state.leaves())
            kept = {name: len(part.graphs) for name, part in model._graphs._parts.items()}  # type: ignore[attr-defined]
        assert told == []
        assert set(kept) == ({"unet", *it.host.token_table.widths} if recorded else set())
    for seed in (1, 2, 3):
        assert all(torch.equal(one, other) for one, other in zip(found[False, seed], found[True, seed]))


def refuse(act: Callable[[], Tensors], forget: Forget, pool: Any) -> Any:
    """A recording that CUDA does not allow."""
    raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")


def no_room(act: Callable[[], Tensors], forget: Forget, pool: Any) -> Any:
    """A recording that there is no memory for."""
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


def in_turns(*ways: Capture) -> Capture:
    """The first recording in the first way, and so on."""
    left = iter(ways)

    def record(act: Callable[[], Tensors], forget: Forget, pool: Any) -> tuple[Callable[[], None], Tensors]:
        return next(left)(act, forget, pool)

    return record


def wrong(act: Callable[[], Tensors], forget: Forget, pool: Any) -> Any:
    """A recording that is not what was called."""
    replay, answers = capture(act, forget, pool)

    def spoiled() -> None:
        replay()
        answers[0].mul_(1.2)

    return spoiled, answers


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (refuse, "CUDA error: operation not permitted when stream is capturing"),
        (wrong, "what was recorded gives other numbers"),
    ],
)
def test_a_refused_recording_is_told_once_and_done_without(how: Any, reason: str) -> None:
    """Whatever the error, also where the recording computes something else; what the UNet gives is the same."""
    pipeline = small_pipelines.sd1()
    unet = unet_of(pipeline)
    told: list[Any] = []
    given = inputs(pipeline, 1, 1)
    graphs = Graphs((pipeline.unet,), how, told.append)
    for _ in range(2):
        assert torch.equal(graphs.call("unet", unet, given)[0], unet(*given)[0])
    assert said(told, "hosts.no_cuda_graphs", part="unet", reason=reason)
    assert len(told) == 1
    graphs.renew()
    graphs.call("unet", unet, given)
    assert len(told) == 1


def test_a_module_with_hooks_is_not_recorded() -> None:
    """A hook's own state would stay as it was when it was recorded. transformers' own, by which it collects hidden
    states, has none."""
    pipeline = small_pipelines.sd1()
    unet, told = unet_of(pipeline), list[Any]()
    graphs = Graphs((pipeline.unet,), capture, told.append)
    given = inputs(pipeline, 1, 1)
    handle = pipeline.unet.conv_in.register_forward_hook(lambda module, given, output: output + 1)
    assert torch.equal(graphs.call("unet", unet, given)[0], unet(*given)[0])
    handle.remove()
    assert said(
        told, "hosts.no_cuda_graphs", part="unet", reason="a module has hooks, which a recording would leave out"
    )


def test_without_memory_it_is_done_without_until_the_parts_compute_in_another_way() -> None:
    """Gradient checkpointing, for one: then there may be room. Each time it is told once."""
    pipeline = small_pipelines.sd1()
    unet, told = unet_of(pipeline), list[Any]()
    graphs = Graphs((pipeline.unet,), in_turns(no_room, capture, capture), told.append)
    given = inputs(pipeline, 1, 1)
    for _ in range(2):
        assert torch.equal(graphs.call("unet", unet, given)[0], unet(*given)[0])
    assert said(told, "hosts.no_memory_for_cuda_graphs")
    assert len(told) == 1
    graphs.renew()
    graphs.call("unet", unet, given)
    assert len(graphs._parts["unet"].graphs) == 1
    graphs.save_memory()
    assert graphs._parts == {}
    assert len(told) == 2


def test_memory_that_runs_out_for_something_else_costs_a_recording_and_no_more() -> None:
    """An evaluation, an image, encoding before the first step: none of them goes through graphs."""
    pipeline = small_pipelines.sd1()
    unet, told = unet_of(pipeline), list[Any]()
    graphs = Graphs((pipeline.unet,), capture, told.append)
    given = inputs(pipeline, 1, 1)

    def evaluated() -> None:
        with torch.no_grad():
            graphs.call("unet", unet, given)

    for other in (lambda: None, evaluated, graphs.clear):
        other()
        graphs.save_memory()
        assert graphs._parts == {}
        graphs.call("unet", unet, given)
        assert len(graphs._parts["unet"].graphs) == 1
    assert told == []


def test_weights_that_have_moved_are_recorded_again() -> None:
    """As the WebUI moves a model to the CPU and back for an image: a graph would read where they were."""
    pipeline = small_pipelines.sd1()
    unet, told = unet_of(pipeline), list[Any]()
    graphs = Graphs((pipeline.unet,), capture, told.append)
    given = inputs(pipeline, 1, 1)
    graphs.call("unet", unet, given)
    first = graphs._parts["unet"]
    graphs.call("unet", unet, given)
    assert graphs._parts["unet"] is first
    weight = pipeline.unet.conv_in.weight
    weight.data = weight.data.clone()
    graphs.call("unet", unet, given)
    assert graphs._parts["unet"] is not first
    assert told == []


def test_weights_that_are_replaced_are_not_kept() -> None:
    """As Forge's are after each image: for a moment there would be all of them twice."""
    pipeline = small_pipelines.sd1()
    unet = unet_of(pipeline)
    graphs = Graphs((pipeline.unet,), capture, print)
    graphs.call("unet", unet, inputs(pipeline, 1, 1))
    graphs.clear()
    left = weakref.ref(pipeline.unet.conv_in.weight)
    pipeline.unet.conv_in.weight = torch.nn.Parameter(pipeline.unet.conv_in.weight.detach().clone())
    assert left() is None


def test_the_graph_that_was_used_least_recently_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are many shapes."""
    monkeypatch.setattr(cuda_graphs, "_MOST", 2)
    pipeline = small_pipelines.sd1()
    unet = unet_of(pipeline)
    graphs = Graphs((pipeline.unet,), capture, print)
    for batch in (1, 2, 1, 3):
        graphs.call("unet", unet, inputs(pipeline, batch, 1))
    assert [key[0][0][0] for key in graphs._parts["unet"].graphs] == [1, 3]


def test_nothing_is_recorded_where_no_gradient_is_wanted() -> None:
    """Evaluation and previews."""
    pipeline = small_pipelines.sd1()
    unet = unet_of(pipeline)
    graphs = Graphs((pipeline.unet,), capture, print)
    noisy, timesteps, context = inputs(pipeline, 1, 1)
    with torch.no_grad():
        graphs.call("unet", unet, (noisy, timesteps, context))
    graphs.call("unet", unet, (noisy, timesteps, context.detach()))
    assert graphs._parts == {}


@pytest.mark.parametrize("batch", [1, 2])
def test_a_gradient_that_comes_too_late_is_an_error(batch: int) -> None:
    """Never the gradient of another call, of the same shape or not: their memory is one."""
    pipeline = small_pipelines.sd1()
    unet = unet_of(pipeline)
    graphs = Graphs((pipeline.unet,), capture, print)
    (first,) = graphs.call("unet", unet, inputs(pipeline, 1, 1))
    graphs.call("unet", unet, inputs(pipeline, batch, 2))
    with pytest.raises(RuntimeError, match="called again"):
        first.sum().backward()


def test_off_a_gpu_nothing_is_recorded(tmp_path: Path) -> None:
    """Though it is the default."""
    host = DiffusersHost.placed(small_pipelines.sd1(), tmp_path, {}, "cpu", "fp32")
    with host.training(1) as model:
        assert not model._graphs.at_work  # type: ignore[attr-defined]


def test_the_programs_flag_switches_them_off() -> None:
    """As preload.py adds it; a program that did not call it has no such flag."""
    parser = ArgumentParser()
    preload(parser)
    assert may_record_graphs(parser.parse_args([]))
    assert not may_record_graphs(parser.parse_args(["--tinv-no-cuda-graphs"]))
    assert may_record_graphs(object())


def test_one_part_that_is_refused_leaves_the_others_recorded() -> None:
    """As a text encoder that CUDA will not record: most of a step is the UNet."""
    pipeline = small_pipelines.sd1()
    unet, told = unet_of(pipeline), list[Any]()
    graphs = Graphs((pipeline.unet,), in_turns(refuse, capture, capture), told.append)
    for _ in range(2):
        graphs.call("text", unet, inputs(pipeline, 1, 1))
        graphs.call("unet", unet, inputs(pipeline, 1, 1))
    assert set(graphs._parts) == {"unet"}
    assert len(told) == 1


def test_graphs_that_are_given_up_are_gone_at_once() -> None:
    """Their memory is wanted right then; nothing is left to a garbage collector that may come much later."""
    pipeline = small_pipelines.sd1()
    unet = unet_of(pipeline)
    ways: list[Capture] = [capture_into_the_same] * 4
    graphs = Graphs((pipeline.unet,), in_turns(*ways, no_room), print)
    gc.collect()
    gc.disable()
    try:
        for give_up in (graphs.clear, lambda: graphs.call("unet", unet, inputs(pipeline, 2, 1))):
            graphs.call("unet", unet, inputs(pipeline, 1, 1))
            (graph,) = graphs._parts["unet"].graphs.values()
            left = weakref.ref(graph)
            del graph
            give_up()
            assert left() is None
    finally:
        gc.enable()


def capture_into_the_same(act: Callable[[], Tensors], forget: Forget, pool: Any) -> tuple[Callable[[], None], Tensors]:
    """One that keeps nothing of what it records, as CUDA's graphs know no Python."""
    results = act()
    values = tuple(one.detach().clone() for one in results)
    return partial(copy_all, results, values), results


def copy_all(results: Tensors, values: Tensors) -> None:
    """Have the results these values again."""
    for one, value in zip(results, values):
        one.detach().copy_(value)


def test_a_recording_that_repeats_nothing_is_noticed() -> None:
    """Though its results are right as long as nobody asks for others."""

    def nothing(act: Callable[[], Tensors], forget: Forget, pool: Any) -> tuple[Callable[[], None], Tensors]:
        return lambda: None, act()

    pipeline, told = small_pipelines.sd1(), list[Any]()
    unet, given = unet_of(pipeline), inputs(pipeline, 1, 1)
    graphs = Graphs((pipeline.unet,), nothing, told.append)
    assert torch.equal(graphs.call("unet", unet, given)[0], unet(*given)[0])
    assert said(told, "hosts.no_cuda_graphs", reason="what was recorded gives other numbers")


def test_backward_is_recorded_with_what_forward_has_computed() -> None:
    """While forward is recorded nothing is computed, and backward may take an index from what it keeps."""
    done: list[str] = []

    def watched(act: Callable[[], Tensors], forget: Forget, pool: Any) -> tuple[Callable[[], None], Tensors]:
        done.append("record")
        replay, results = capture(act, forget, pool)
        return lambda: (done.append("replay"), replay())[1], results

    pipeline = small_pipelines.sd1()
    Graphs((pipeline.unet,), watched, print).call("unet", unet_of(pipeline), inputs(pipeline, 1, 1))
    assert done[:3] == ["record", "replay", "record"]
