"""Memory by hand: checkpointing and micro-batches as set, the same gradient, and a run that resumes as it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.fake import Fake, dataset, initial
from tests.fake_host import FakeHost, FakeModel
from tests.messages import ids, refused, said
from tests.run.test_runner import Configure, Watch, config, learnt
from tinv_ext.cli.main import _parser
from tinv_ext.core.errors import MemoryShortError
from tinv_ext.core.model import Model
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training import fallbacks as fallbacks_module
from tinv_ext.core.training.fallbacks import Fallbacks
from tinv_ext.core.training.memory_room import at_once, batches_that_fit
from tinv_ext.core.training.schedules import parse_schedule
from tinv_ext.core.training.state_contents import facts_of
from tinv_ext.core.training.trainer import Plan, train
from tinv_ext.run import runner
from tinv_ext.run.dry_run import try_out
from tinv_ext.run.events import Noticed, RunControls
from tinv_ext.run.starting_fallbacks import KEPT, fallbacks_of, settings_that_fit

__all__ = ["config"]  # the fixture of a short run
PLAN = Plan(4, 5, 1, parse_schedule("0.05").at)


def settings(**given: Any) -> TrainConfig:
    """Of a batch of five."""
    return TrainConfig.from_dict({"name": "zworble", "batch_size": 5, **given})


class Counting(Fake):
    """Keeps how many images went through at once."""

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        sizes.append(len(noisy))
        return super().denoise(noisy, timesteps, condition)


sizes: list[int] = []


def trained(fallbacks: Fallbacks, model: Fake | None = None) -> Tensor:
    """The vectors after the plan."""
    state, model = initial(), model or Counting()
    sizes.clear()
    fallbacks.begin(model)
    list(train(state, PLAN, model, dataset(), fallbacks))
    return state.values("it")["clip_l"]


@pytest.mark.parametrize("micro, seen", [(0, {5}), (1, {1}), (2, {1, 2}), (3, {2, 3}), (5, {5}), (9, {5})])
def test_a_batch_goes_through_in_pieces_and_teaches_the_same(micro: int, seen: set[int]) -> None:
    """Never more at once than set, the gradient that of the whole batch but for rounding."""
    found = trained(fallbacks_of(settings(micro_batch_size=micro), print))
    assert set(sizes) == seen
    whole = trained(Fallbacks())
    assert torch.allclose(found, whole, rtol=0, atol=1e-6)
    assert torch.equal(found, whole) or seen != {5}


@pytest.mark.parametrize("value, recomputes", [("auto", 0), ("on", 1), ("off", 0), (True, 1), ("false", 0)])
def test_checkpointing_is_as_set_from_the_first_step(value: Any, recomputes: int) -> None:
    """By itself none where memory suffices; a switch of other programs is on or off."""
    model = Fake()
    trained(fallbacks_of(settings(gradient_checkpointing=value), print), model)
    assert model.recomputes == recomputes


def test_without_checkpointing_the_batch_is_cut_at_once() -> None:
    """It is never turned on, and the sentence at the end says what would help."""
    model = Fake()
    model.most = 2
    off = settings(gradient_checkpointing="off")
    assert torch.allclose(trained(fallbacks_of(off, print), model), trained(Fallbacks()), rtol=0, atol=1e-6)
    assert model.recomputes == 0
    model.most = 0
    with refused("training.no_memory_unchecked", MemoryShortError, step=1):
        trained(fallbacks_of(off, print), model)


@pytest.mark.parametrize("value, offloads", [("auto", 0), ("on", 1), ("off", 0), ("true", 1)])
def test_weights_are_offloaded_as_set_from_the_first_step(value: Any, offloads: int) -> None:
    """By itself only where nothing else suffices any more; off: not even then."""
    model = Fake(can_offload=True)
    trained(fallbacks_of(settings(offload_weights=value), print), model)
    assert model.offloads == offloads
    model.most = 0
    if value == "off":
        with refused("training.no_memory", MemoryShortError, step=1):
            trained(fallbacks_of(settings(offload_weights=value), print), model)
    fallbacks = fallbacks_of(settings(offload_weights="on"), print)
    assert settings_that_fit(fallbacks, 1) == ["offload_weights=on"]
    kept = fallbacks_of(settings(), print, {KEPT: fallbacks.facts()})
    assert kept.offloaded


def test_check_tells_the_settings_that_fit() -> None:
    """Set so, the same run begins without running out; where nothing ran out there is nothing to set."""
    model = Fake()
    model.most = 2
    found = try_out(initial(), PLAN, model, dataset())
    fit = {"gradient_checkpointing": "on", "micro_batch_size": 2}
    assert said(found.notices(4), "run.settings_that_fit", settings=tuple(f"{name}={is_}" for name, is_ in fit.items()))
    again = try_out(initial(), PLAN, model, dataset(), fallbacks=fallbacks_of(settings(**fit), print))
    assert again.given_up == ()
    assert not said(again.notices(4), "run.settings_that_fit")


@dataclass
class Scarce(FakeModel):
    """Room for one image at a time, as counted by `ran_out`."""

    most: int | None = 1

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Any) -> Tensor:
        ran_out.append(len(noisy) > 1)
        return super().denoise(noisy, timesteps, condition)


ran_out: list[bool] = []


class ScarceHost(FakeHost):
    """A host whose model has room for one image."""

    @contextmanager
    def training(self, clip_skip: int) -> Iterator[Model]:
        yield Scarce()


def test_a_run_resumes_as_it_stopped(config: Configure, tmp_path: Path) -> None:
    """In the pieces that memory has forced on it: it does not run out again, and its vectors are the same bits."""
    given = {"batch_size": 3, "save_state_every": 1, "overwrite": True}
    host = ScarceHost(tmp_path / "embeddings")
    runner.run(config(**given), host)
    whole = learnt(tmp_path / "embeddings")
    controls = RunControls()
    watch, again = Watch({3: controls.stop.set}), Watch()
    runner.run(config(**given), host, watch, controls)
    assert facts_of(watch.folder.state)[KEPT] == {
        "gradient_checkpointing": 1,
        "offloaded": 0,
        "pieces_of_step": 3,
        "precise": 0,
    }
    ran_out.clear()
    assert runner.resume(watch.folder.path, host, report=again).status == "finished"
    assert not any(ran_out)
    assert torch.equal(learnt(tmp_path / "embeddings"), whole)
    told = [event.text for event in again.events if isinstance(event, Noticed)]
    assert said(told, "run.as_it_stopped", settings=["gradient_checkpointing=on", "micro_batch_size=1"])
    assert not said(told, "run.differs")


def test_what_is_set_when_a_run_resumes_counts() -> None:
    """Another batch, other pieces, no checkpointing; and no file asks for what does not exist."""
    before = {KEPT: {"gradient_checkpointing": 1, "pieces": 4}, "settings": {"batch_size": 5, "micro_batch_size": 0}}

    def begun(facts: dict[str, Any], **given: Any) -> tuple[bool, int, int]:
        found = fallbacks_of(settings(**given), lambda text: None, facts)
        return found.gradient_checkpointing, found.pieces, found.precise

    assert begun(before) == (True, 4, 0)
    assert begun(before, gradient_checkpointing="off") == (False, 4, 0)
    assert begun(before, micro_batch_size=3) == (True, 2, 0)
    assert begun(before, batch_size=8) == (True, 1, 0)
    for damaged in ({KEPT: 3}, {KEPT: {"pieces": "x", "precise": None}}, {"settings": 1}):
        assert begun(damaged) == (False, 1, 0)
    assert begun({**before, KEPT: {"pieces": 10**9, "precise": 10**9}}) == (False, 5, 8)
    assert begun({**before, KEPT: {"pieces_of_step": 2}}) == (False, 2, 0)


def test_batches_of_one_step_go_together_unless_that_is_too_much() -> None:
    """As many images as are safe where memory is not measured; on CUDA the first step measures."""

    def pieces(device: str, **given: Any) -> tuple[int, bool]:
        found = fallbacks_of(settings(**given), lambda text: None, None, device)
        return found.pieces, found.measures

    assert pieces("cpu", gradient_accumulation_steps=2) == (2, False)  # ten are more than eight
    assert pieces("cpu", batch_size=2, gradient_accumulation_steps=4) == (1, False)
    assert pieces("cpu", batch_size=2, gradient_accumulation_steps=8) == (2, False)
    assert pieces("cuda", batch_size=2, gradient_accumulation_steps=4) == (4, True)
    assert pieces("cuda", batch_size=2, gradient_accumulation_steps=4, micro_batch_size=4) == (2, False)
    assert pieces("mps", batch_size=2, gradient_accumulation_steps=4) == (4, False)
    assert pieces("cuda") == (1, False)


def test_a_state_from_before_batches_went_together_goes_on_in_its_passes() -> None:
    """Every batch alone, in the pieces that it was cut into."""
    given = {"batch_size": 4, "gradient_accumulation_steps": 3, "micro_batch_size": 0}
    for kept, pieces in (({"pieces": 2}, 6), ({"pieces": 1}, 3), ({}, 3), ({"pieces_of_step": 2}, 2)):
        before = {KEPT: kept, "settings": given}
        assert fallbacks_of(settings(**given), lambda text: None, before).pieces == pieces
    fine = {**given, "micro_batch_size": 1}
    assert fallbacks_of(settings(**fine), lambda text: None, {"settings": fine}).pieces == 12


def test_the_first_step_shows_how_many_batches_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch by batch at first, then as many at once as there is memory for; the same vectors but for rounding."""
    monkeypatch.setattr(fallbacks_module, "begin_measuring", lambda device: 100)
    monkeypatch.setattr(fallbacks_module, "batches_that_fit", lambda device, before: at_once(50, 320))
    plan = Plan(3, 2, 6, parse_schedule("0.05").at)
    found, model = initial(), Counting()
    sizes.clear()
    list(train(found, plan, model, dataset(), Fallbacks(pieces=6, measures=True)))
    assert sizes == [2] * 6 + [6] * 4  # 5 of 6 would fit, so two passes of three
    whole = initial()
    list(train(whole, plan, Fake(), dataset()))
    assert torch.allclose(found.values("it")["clip_l"], whole.values("it")["clip_l"], rtol=0, atol=1e-6)


def test_memory_that_runs_out_parts_batches_before_anything_is_computed_twice() -> None:
    """Room for one batch at a time costs nothing; only below that is checkpointing turned on."""
    plan = Plan(2, 2, 4, parse_schedule("0.05").at)
    parted = ["training.pieces"] * 2
    checkpointed = [*parted, "training.checkpointing", "training.pieces"]
    for most, recomputes, told in ((2, 0, parted), (1, 1, checkpointed)):
        state, model, heard = initial(), Fake(), list[Any]()
        model.most = most
        list(train(state, plan, model, dataset(), Fallbacks(heard.append)))
        assert model.recomputes == recomputes
        assert ids(heard) == told


def test_the_flag_can_stand_alone() -> None:
    """As kohya and diffusers have it."""
    options = vars(_parser().parse_args(["train", "--gradient-checkpointing", "--micro-batch-size", "2"]))
    found = TrainConfig.from_dict(
        {"name": "zworble", **{name: options[name] for name in ("gradient_checkpointing", "micro_batch_size")}}
    )
    assert (found.gradient_checkpointing, found.micro_batch_size) == ("on", 2)


def test_what_is_free_is_asked_of_a_device_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before torch 2.5 that of "cuda", as the WebUI calls its device, was an error."""
    asked: list[Any] = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: asked.append(device) or (1000, 2000))
    for name, count in (("memory_reserved", 300), ("memory_allocated", 100), ("max_memory_allocated", 350)):
        monkeypatch.setattr(torch.cuda, name, lambda device, count=count: count)
    for device in ("cuda", "cuda:1"):
        assert batches_that_fit(torch.device(device), 100) == at_once(250, 1200)
    assert asked == [2, 1]
