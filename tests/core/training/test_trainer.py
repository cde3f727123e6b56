"""The laws of the training loop, on a model of a few lines; nothing here depends on what a model has learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.fake import Fake, dataset, examples, initial
from tinv_ext.core.data.dataset import Dataset
from tinv_ext.core.errors import NumericError
from tinv_ext.core.noise import NoiseSchedule, scaled_linear
from tinv_ext.core.training.evaluation import evaluate, make_eval_set
from tinv_ext.core.training.gradients import Clip
from tinv_ext.core.training.schedules import parse_schedule
from tinv_ext.core.training.state import State, load_state, save_state
from tinv_ext.core.training.trainer import Plan, Step, train


def plan(steps: int = 8, rate: str = "0.01", **changes: Any) -> Plan:
    """Steps of two pictures."""
    return replace(Plan(steps, 2, 1, parse_schedule(rate).at), **changes)


def run(state: State, it: Plan, model: Fake | None = None, data: Dataset | None = None) -> list[Step]:
    """All steps of a plan."""
    return list(train(state, it, model or Fake(), data or dataset()))


def vectors(state: State) -> Tensor:
    """The word's vectors, a copy."""
    return state.values("it")["clip_l"]


# --- the same run ---------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_run() -> None:
    """Vectors, losses and prompts are equal bit for bit; another seed gives others."""
    varied = dataset(shuffle_tags=True, tag_dropout=0.3)
    one, two, other = initial(), initial(), initial(seed=6)
    assert run(one, plan(), data=varied) == run(two, plan(), data=varied)
    run(other, plan(), data=varied)
    assert torch.equal(vectors(one), vectors(two))
    assert not torch.equal(vectors(one), vectors(other))


def test_the_global_generator_has_no_say() -> None:
    """Whatever else draws random numbers in the program, the run is the same and leaves that generator alone."""
    torch.manual_seed(1)
    one = initial()
    run(one, plan())
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)
    two = initial()
    run(two, plan())
    assert torch.equal(vectors(one), vectors(two))


def test_gradients_that_are_off_in_the_thread_have_no_say() -> None:
    """A program may have switched gradients off around the run: the vectors are the same, and they stay off."""
    one, two = initial(), initial()
    run(one, plan())
    with torch.no_grad():
        run(two, plan())
        assert not torch.is_grad_enabled()
    assert torch.equal(vectors(one), vectors(two))


@pytest.mark.parametrize("stop", [1, 4, 7])
@pytest.mark.parametrize("sampling", ["random", "once"])
def test_a_run_gone_on_with_equals_one_never_stopped(tmp_path: Path, stop: int, sampling: str) -> None:
    """Stopped, saved, read and gone on with: vectors, optimizer, order and losses are equal bit for bit."""
    data = dataset(sampling=sampling, shuffle_tags=True)
    whole = initial()
    steps = run(whole, plan(), data=data)
    first = initial()
    before = run(first, plan(stop), data=data)
    save_state(first, tmp_path / "state", {"stopped": stop})
    second, facts = load_state(tmp_path / "state", torch.device("cpu"), "it")
    assert before + run(second, plan(), data=data) == steps
    assert facts == {"stopped": stop}
    assert torch.equal(vectors(second), vectors(whole))
    assert second.order.numbers() == whole.order.numbers()
    assert torch.equal(second.rng.get_state(), whole.rng.get_state())
    for key, value in whole.optimizer.state[whole.vectors["it"]["clip_l"]].items():
        assert torch.equal(second.optimizer.state[second.vectors["it"]["clip_l"]][key], value)


def test_a_run_left_amid_its_steps_goes_on_with_the_same_state() -> None:
    """Leaving the loop and calling it again is no event: the vectors are those of a run without a break."""
    whole, broken = initial(), initial()
    run(whole, plan())
    for step in train(broken, plan(), Fake(), dataset()):
        if step.number == 3:
            break
    run(broken, plan())
    assert torch.equal(vectors(whole), vectors(broken))


def test_evaluation_does_not_change_the_run() -> None:
    """Measured after each step, the run is bit for bit the one that was never measured; the measure is repeatable."""
    alone, measured, model = initial(), initial(), Fake()
    run(alone, plan())
    data = dataset()
    eval_set = make_eval_set(examples(3), data.reader, model.noise, draws=4, seed=2)
    losses = []
    for _ in train(measured, plan(), model, data):
        losses.append(evaluate(model, eval_set, measured.vectors))
    assert torch.equal(vectors(alone), vectors(measured))
    assert losses[-1] == evaluate(model, eval_set, measured.vectors, batch_size=5)
    assert measured.vectors["it"]["clip_l"].grad is None


def test_the_probe_covers_all_timesteps_evenly() -> None:
    """One draw from the middle of each equal part of the schedule; the seed deals them out and fixes the noise."""
    schedule = NoiseSchedule(scaled_linear())
    reader = dataset().reader
    probe, same, other = (make_eval_set(examples(2), reader, schedule, draws=4, seed=seed) for seed in (2, 2, 3))
    assert sorted(probe.timesteps[0].tolist()) == [62, 187, 312, 437, 562, 687, 812, 937]
    assert torch.equal(probe.noises[0], same.noises[0])
    assert torch.equal(probe.timesteps[0], same.timesteps[0])
    assert not torch.equal(probe.timesteps[0], other.timesteps[0])


# --- when and how far -----------------------------------------------------------------------------------------------


def test_rate_zero_changes_nothing() -> None:
    """Steps are counted and losses told, the vectors stay."""
    state = initial()
    start = vectors(state)
    assert [step.number for step in run(state, plan(rate="0"))] == list(range(1, 9))
    assert torch.equal(vectors(state), start)


def test_rates_hold_until_their_step() -> None:
    """`rate:3` is the rate of steps 1 to 3, the next holds from step 4."""
    rates = [step.rate for step in run(initial(), plan(5, "0.1:3, 0.2"))]
    assert rates == [0.1, 0.1, 0.1, 0.2, 0.2]


def test_a_plan_that_is_done_draws_nothing() -> None:
    """Where the state stands at the plan's end there are no steps, and the random state stays."""
    state = initial()
    run(state, plan(3))
    before = state.rng.get_state()
    assert run(state, plan(3)) == []
    assert torch.equal(state.rng.get_state(), before)


@pytest.mark.parametrize("poison", [2, 5])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_vectors(poison: int) -> None:
    """NumericError names the step; vectors and step count are those of the last good step, and no gradient is left."""
    good, bad = initial(), initial()
    run(good, plan(poison - 1))
    with pytest.raises(NumericError, match=f"Step {poison} "):
        run(bad, plan(), Fake(poison_at=poison))
    assert bad.step == poison - 1
    assert torch.equal(vectors(bad), vectors(good))
    assert bad.vectors["it"]["clip_l"].grad is None


# --- the update -----------------------------------------------------------------------------------------------------


def gradients(it: Plan, model: Fake | None = None) -> tuple[list[Tensor], list[Tensor], list[Step]]:
    """The gradient that the optimizer gets at each step, the vectors after it, and the steps."""
    state, seen, after = initial(), [], []
    state.optimizer.register_step_pre_hook(lambda *_: seen.append(state.vectors["it"]["clip_l"].grad.clone()))
    steps = []
    for step in train(state, it, model or Fake(), dataset()):
        after.append(vectors(state))
        steps.append(step)
    return seen, after, steps


def test_the_update_is_adams() -> None:
    """Three steps of AdamW without decay equal Kingma & Ba's algorithm 1 (arXiv 1412.6980) written out by hand."""
    seen, after, _ = gradients(plan(3, "0.01:1, 0.03"))
    value = vectors(initial()).double()
    m = v = torch.zeros_like(value)
    for t, (gradient, rate) in enumerate(zip(seen, (0.01, 0.03, 0.03)), start=1):
        m = 0.9 * m + 0.1 * gradient.double()
        v = 0.999 * v + 0.001 * gradient.double() ** 2
        value = value - rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        assert torch.allclose(after[t - 1].double(), value, rtol=0, atol=1e-7)


def test_clipping_by_value_limits_each_component() -> None:
    """No component exceeds the bound of its step, smaller ones stay; the length told is that from before."""
    (free,), _, (plain,) = gradients(plan(1))
    bound = float(free.abs().median())
    (clipped,), _, (step,) = gradients(plan(1, clip=Clip("value", parse_schedule(str(bound)).at)))
    assert torch.equal(clipped, free.clamp(-bound, bound))
    assert not torch.equal(clipped, free)
    assert step.gradient_norm == plain.gradient_norm == pytest.approx(float(free.norm()))


def test_clipping_by_norm_limits_the_length_over_all_vectors() -> None:
    """A gradient longer than the bound is shortened to it and keeps its direction; a shorter one is left alone."""
    (free,), _, _ = gradients(plan(1))
    length = float(free.norm())
    (clipped,), _, _ = gradients(plan(1, clip=Clip("norm", parse_schedule(str(length / 3)).at)))
    assert torch.allclose(clipped, free / 3, rtol=1e-5)
    (kept,), _, _ = gradients(plan(1, clip=Clip("norm", parse_schedule(str(length * 3)).at)))
    assert torch.equal(kept, free)


def test_the_bound_of_clipping_follows_its_schedule() -> None:
    """The bound is looked up by the step, as the rate is."""
    seen, _, _ = gradients(plan(2, clip=Clip("value", parse_schedule("1e-3:1, 1e-5").at)))
    assert [float(gradient.abs().max()) for gradient in seen] == pytest.approx([1e-3, 1e-5])


@pytest.mark.parametrize("clip", [None, Clip("norm", parse_schedule("1e-3").at)])
def test_the_loss_scale_cancels_out(clip: Clip | None) -> None:
    """A power of two before backward is taken out again before clipping: the same run bit for bit."""
    plain, scaled = gradients(plan(4, clip=clip)), gradients(plan(4, clip=clip), Fake(loss_scale=1024.0))
    assert plain[2] == scaled[2]
    assert all(torch.equal(one, two) for one, two in zip(plain[1], scaled[1]))


def test_a_step_is_one_update_over_all_its_batches() -> None:
    """With accumulation of three, a step takes three batches in one pass, counts one, and has their mean gradient."""
    model = Fake()
    (gradient, _), _, steps = gradients(plan(2, "0", accumulate=3), model)
    assert model.calls == 2
    assert [step.number for step in steps] == [1, 2]
    assert all(len(step.prompts) == 6 for step in steps)
    singles, _, single_steps = gradients(plan(3, "0"))
    assert steps[0].loss == pytest.approx(sum(step.loss for step in single_steps) / 3)
    assert torch.allclose(gradient, torch.stack(singles).mean(0))
