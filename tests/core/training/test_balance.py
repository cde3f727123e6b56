"""Timesteps balanced by the model's own losses, drawn in strata; averaged vectors; the scalar second moment."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.fake import WIDTH, Fake, dataset, initial
from tests.core.training.test_trainer import plan, run, vectors
from tests.messages import refused
from tinv_ext.core.training.balance import BINS, Balance, checked_table, log_linear, table_of
from tinv_ext.core.training.objective import Objective
from tinv_ext.core.training.optimizers import make_optimizer
from tinv_ext.core.training.state import new_state
from tinv_ext.core.training.timesteps import TIMESTEPS
from tinv_ext.core.training.trainer import train

TABLE = torch.logspace(0, -2, BINS, dtype=torch.float64)


def test_weights_are_the_losses_to_the_power() -> None:
    """In the middle of a bin exactly, between two in the logarithm, beyond the outermost theirs."""
    middles = torch.tensor([19, 20, 39, 0, 999])
    weights = Balance(0.7, TABLE).weigh(middles, 1000)
    step = 2 / (BINS - 1)  # of the table's exponent from bin to bin
    places = [0.0, 0.5 / 40, (39.5 - 20) / 40, 0.0, BINS - 1]
    expected = torch.tensor([10 ** (0.7 * step * place) for place in places])
    assert torch.allclose(weights, expected, rtol=1e-5)
    assert Balance(0.0, TABLE).weigh(middles, 1000) is None
    assert Balance(1.0, None).weigh(middles, 1000) is None
    assert log_linear(TABLE, torch.tensor([24.0], dtype=torch.float64)).item() == pytest.approx(0.01)


def test_the_table_follows_what_is_seen() -> None:
    """By 0.02 of the way to each unweighted loss, in its bin alone; what is not finite or zero is passed over."""
    balance = Balance(1.0, TABLE)
    weights = balance.weigh(torch.tensor([0, 5, 999, 500]), 1000)
    assert weights is not None
    balance.follow([3.0 * float(weights[0]), math.nan, 0.0, 2.0 * float(weights[3])])
    expected = TABLE.clone()
    expected[0] += 0.02 * (3.0 - expected[0])
    expected[12] += 0.02 * (2.0 - expected[12])
    assert torch.allclose(balance.table, expected, rtol=1e-6)
    backup = balance.backup()
    balance.weigh(torch.tensor([0]), 1000)
    balance.restore(backup)  # the step failed: its weights wait no more
    balance.weigh(torch.tensor([999]), 1000)
    balance.follow([1.0])
    assert balance.table[0] == expected[0]


def test_the_table_follows_noisy_losses() -> None:
    """A curve of any height and slope is found from few draws, closer than any draw is; its mean is the losses'."""
    rng = torch.Generator().manual_seed(1)
    timesteps = (torch.arange(32) * 31.25 + 15).long()
    places = (torch.arange(BINS).double() + 0.5) / BINS
    for slope, bend in ((0.0, 0.0), (-4.5, 2.0), (2.0, -3.0)):
        at = (timesteps.double() + 0.5) / 1000
        usual = torch.exp(slope * at + bend * at**3 - 1)
        losses = usual * torch.exp(0.35 * torch.randn(32, generator=rng, dtype=torch.float64))
        table = table_of(timesteps, 1000, losses)
        assert table is not None
        assert checked_table(table) is table
        error = table.log() - (slope * places + bend * places**3 - 1)
        assert (error - error.mean()).std() < 0.2
        assert float(log_linear(table, at * BINS - 0.5).mean()) == pytest.approx(float(losses.mean()), rel=0.02)


def test_losses_that_lie_on_a_curve_are_met() -> None:
    """Also by half of them, the others being no numbers or 0."""
    timesteps = torch.arange(0, 1000, 4)
    losses = torch.exp(-5 * (timesteps.double() + 0.5) / 1000)
    table = table_of(timesteps, 1000, losses)
    expected = torch.exp(-5 * (torch.arange(BINS).double() + 0.5) / BINS)
    assert table is not None
    assert torch.allclose(table, expected, rtol=1e-6)
    losses[::4], losses[1::4] = math.nan, 0.0
    losses[2::8] = math.inf
    half = table_of(timesteps, 1000, losses)
    assert half is not None
    assert torch.allclose(half, expected, rtol=1e-6)


def test_few_losses_make_a_flat_table_and_none_make_none() -> None:
    """One or two draws tell no slope; the table never leaves the losses' range."""
    assert torch.allclose(table_of(torch.tensor([10, 900]), 1000, torch.tensor([0.5, 0.1])), torch.tensor(0.3).double())
    wild = table_of(torch.tensor([400, 450, 500, 550, 600]), 1000, torch.tensor([0.9, 0.5, 0.3, 0.2, 0.1]))
    assert wild is not None
    assert 0.1 - 1e-9 <= float(wild.min()) < float(wild.max()) <= 0.9 + 1e-6
    assert table_of(torch.arange(1000), 1000, torch.full((1000,), math.nan)) is None


def test_no_loss_makes_the_table_infinite() -> None:
    """Not one that overflows when its weight is taken out; a file with such a table is damaged."""
    balance = Balance(8.0, TABLE * 1e4)
    weights = balance.weigh(torch.tensor([0]), 1000)
    assert weights is not None
    assert 0 < float(weights) < 1e-30
    balance.follow([1e300])
    assert torch.equal(balance.table, TABLE * 1e4)
    with pytest.raises(ValueError, match="table"):
        checked_table(TABLE.clone().fill_(math.inf))


def test_balanced_steps_see_weighted_losses() -> None:
    """One step's loss is the mean of each example's divided by the table's; without a table it is as ever."""
    plain, balanced, none = initial(), initial(), initial()
    seen: list[Tensor] = []

    class Watched(Fake):
        def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
            seen.append(timesteps)
            return super().denoise(noisy, timesteps, condition)

    one = replace(plan(1), batch_size=1)
    (first,) = train(plain, one, Watched(), dataset())
    balanced.balance, none.balance = Balance(1.0, TABLE), Balance(1.0)
    (second,) = train(balanced, one, Fake(), dataset())
    usual = log_linear(TABLE, (seen[0].double() + 0.5) * BINS / 1000 - 0.5)
    assert second.loss == pytest.approx(first.loss / float(usual))
    assert list(train(none, one, Fake(), dataset())) == [first]


def test_strata_have_one_timestep_each() -> None:
    """In order, anywhere in theirs; over many batches all are as likely; a batch of one is uniform."""
    rng = torch.Generator().manual_seed(1)
    drawn = torch.stack([TIMESTEPS["stratified"](1000, 4, rng) for _ in range(4000)])
    assert drawn.dtype == torch.int64
    assert torch.equal(drawn // 250, torch.arange(4).expand(4000, 4))
    tenths = torch.bincount(drawn.flatten() // 100, minlength=10)
    assert (tenths - 1600).abs().max() < 160  # four deviations
    _, timesteps = Objective("stratified").sample(torch.zeros(2, 4, 2, 2), Fake().noise, rng)
    assert timesteps[0] < 500 <= timesteps[1]


@pytest.mark.parametrize(("decay", "inv_gamma"), [(0.3, 9.0), (0.9999, 4.0)])
def test_the_result_is_the_average(decay: float, inv_gamma: float) -> None:
    """mean ← d·mean + (1-d)·x with d = min(decay, k/(k+γ)) at step k; the steps themselves are as ever."""
    plain, averaged = initial(), initial()
    after, mean = [], vectors(initial())
    for _ in train(plain, plan(), Fake(), dataset()):
        after.append(plain.leaves()[0].detach().clone())
    run(averaged, plan(ema_decay=decay, ema_inv_gamma=inv_gamma))
    for k, x in enumerate(after, start=1):
        d = min(decay, k / (k + inv_gamma))
        mean = d * mean + (1 - d) * x
    assert torch.equal(averaged.leaves()[0], plain.leaves()[0])
    assert torch.allclose(averaged.values("it")["clip_l"], mean)
    assert not torch.allclose(mean, after[-1])


def test_an_average_switched_on_later_begins_where_the_vectors_are() -> None:
    """At a resume or when its decay is set: what was learnt until then is kept, however far the vectors had come."""
    state, step = initial(), 3000
    for leaf in state.leaves():
        leaf.detach().add_(1.0)
    state.step = step
    before = vectors(state)
    run(state, replace(plan(), steps=step + 1, ema_decay=0.999))
    d = min(0.999, (step + 1) / (step + 10))
    assert torch.allclose(state.values("it")["clip_l"], d * before + (1 - d) * state.leaves()[0])
    assert (state.values("it")["clip_l"] - before).norm() < 0.01 * (before - vectors(initial())).norm()


def test_a_scalar_moment_is_one_number() -> None:
    """Against the formula written out: s ← .9s + .1|g|², x ← x - rate·1.7·L·√n·g/√(s/(1-.9^k))."""
    start = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(3))
    state = new_state({"it": {"clip_l": start}}, 5, torch.device("cpu"), optimizer="ssm", lengths={"clip_l": 0.4})
    seen: list[Tensor] = []
    state.optimizer.register_step_pre_hook(lambda *_: seen.append(state.leaves()[0].grad.clone()))
    run(state, plan(5, "0.2:2, 0.1"))
    x, s = start.double(), 0.0
    for k, (gradient, rate) in enumerate(zip(seen, (0.2, 0.2, 0.1, 0.1, 0.1)), start=1):
        s = 0.9 * s + 0.1 * float(gradient.double().square().sum())
        x = x - rate * 1.7 * 0.4 * 2**0.5 * gradient.double() / math.sqrt(s / (1 - 0.9**k))
    assert torch.allclose(state.leaves()[0].double(), x, atol=1e-5)


def test_typical_lengths_are_the_models_or_the_vectors_own() -> None:
    """By encoder where the model tells them; else the mean length of each word's own vectors, 1 for zeros."""
    words = {"a": {"l": torch.ones(2, 4), "g": torch.zeros(2, 9)}, "b": {"l": torch.ones(1, 4), "g": torch.ones(1, 9)}}
    for name in ("ssm", "ong"):
        told = new_state(words, 5, torch.device("cpu"), optimizer=name, lengths={"l": 0.5, "g": 0.25})
        assert told.optimizer.param_groups[0]["lengths"] == [0.5, 0.25, 0.5, 0.25]
        alone = new_state(words, 5, torch.device("cpu"), optimizer=name)
        for leaf in alone.leaves():
            leaf.grad = torch.ones_like(leaf)
        if name == "ong":
            alone.optimizer.add([torch.ones(1, *leaf.shape) for leaf in alone.leaves()])  # type: ignore[operator]
        alone.optimizer.step()
        assert alone.optimizer.param_groups[0]["lengths"] == [2.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("options", [{"beta": 1.0}, {"scale": 0.0}])
def test_arguments_that_cannot_be_used_are_told(options: dict[str, Any]) -> None:
    """By name."""
    with refused("training.optimizer_values", name="ssm"):
        make_optimizer("ssm", [torch.ones(1, 2, requires_grad=True)], options)
