"""Objective, constraint and rate are values: another one is a function and a row, and nothing else changes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.fake import WIDTH, Fake, both_words, dataset, examples, initial
from tinv_ext.core.noise import Noise
from tinv_ext.core.training import objective, timesteps
from tinv_ext.core.training.constraints import at_most, fixed_norm, in_turn, pulled_to_start
from tinv_ext.core.training.evaluation import evaluate, make_eval_set
from tinv_ext.core.training.noise_samples import NoiseRules
from tinv_ext.core.training.objective import Objective
from tinv_ext.core.training.state import State, new_state
from tinv_ext.core.training.trainer import Plan, Step, take_step, train

PLAN = Plan(4, 2, 1, lambda step: 0.05)


def run(plan: Plan, state: State | None = None) -> tuple[State, list[Step]]:
    """The state after a plan, and its steps."""
    state = state or initial()
    return state, list(train(state, plan, Fake(), both_words() if "b" in state.vectors else dataset()))


def test_a_weighting_is_one_function_and_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """min-SNR (Hang et al. 2023) written in two lines: each example's loss is min(snr, 5)/snr of the plain one."""

    def min_snr(noise: Noise, timesteps: Tensor, gamma: float) -> Tensor:
        return noise.snr(timesteps).clamp(max=gamma) / noise.snr(timesteps)

    monkeypatch.setattr(objective, "WEIGHTS", {**objective.WEIGHTS, "own_min_snr": min_snr})
    noise, model = Fake().noise, Fake()
    prediction, target = torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    timesteps = torch.tensor([5, 300, 900])
    plain = Objective().losses(prediction, target, noise, timesteps)
    weighted = Objective(weights={"own_min_snr": 5.0}).losses(prediction, target, noise, timesteps)
    alphas = model.noise.alphas_cumprod[timesteps]
    expected = plain * torch.minimum(alphas / (1 - alphas), torch.tensor(5.0)) / (alphas / (1 - alphas))
    assert torch.allclose(weighted, expected)
    assert weighted[0] < plain[0] / 10
    assert torch.equal(weighted[2], plain[2])
    assert run(replace(PLAN, objective=Objective(weights={"own_min_snr": 5.0})))[1] != run(PLAN)[1]


def test_an_error_and_a_law_of_timesteps_are_rows_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute error at the last timestep alone: what a step computes is that."""

    def last(known: int, count: int, rng: torch.Generator) -> Tensor:
        return torch.full((count,), known - 1)

    monkeypatch.setattr(timesteps, "TIMESTEPS", {"last": last})
    monkeypatch.setattr(objective, "ERRORS", {"l1": lambda prediction, target, _: (prediction - target).abs()})
    seen: list[Tensor] = []

    class Watched(Fake):
        def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
            seen.append(timesteps)
            return super().denoise(noisy, timesteps, condition)

    plan = replace(PLAN, steps=1, objective=Objective("last", "l1"))
    (step,) = train(initial(), plan, Watched(), dataset())
    assert seen[0].tolist() == [999, 999]
    monkeypatch.setattr(objective, "ERRORS", {"l1": lambda prediction, target, _: 4 * (prediction - target).abs()})
    (other,) = train(initial(), plan, Fake(), dataset())
    assert step.loss == pytest.approx(other.loss / 4)


def test_noise_offset_shifts_whole_channels() -> None:
    """By the same number in each place of a channel, with the deviation asked for; without it the noise is as ever."""
    latents, noise = torch.zeros(500, 4, 3, 3), Fake().noise
    plain, timesteps = Objective().sample(latents, noise, torch.Generator().manual_seed(1))
    shifted, same = Objective(noise=NoiseRules(noise_offset=0.1)).sample(
        latents, noise, torch.Generator().manual_seed(1)
    )
    shift = shifted - plain
    assert torch.equal(timesteps, same)
    assert torch.allclose(shift, shift[..., :1, :1].expand_as(shift), atol=1e-6)
    assert float(shift[..., 0, 0].std()) == pytest.approx(0.1, rel=0.05)


def test_fixed_norm_keeps_lengths_and_frees_zeros() -> None:
    """Directions change, lengths do not; a vector that began at zero is left alone."""
    start = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))
    start[2] = 0
    state, steps = run(
        replace(PLAN, constraint=fixed_norm), new_state({"it": {"clip_l": start}}, 5, torch.device("cpu"))
    )
    after = state.values("it")["clip_l"]
    assert torch.allclose(after[:2].norm(dim=1), start[:2].norm(dim=1))
    assert (after[:2] - start[:2]).norm() > 0.01
    assert after[2].norm() > 0.01
    assert steps[-1].distance > 0


def test_no_vector_grows_longer_than_asked() -> None:
    """In typical lengths of its encoder, or than it began; shorter ones and directions are left alone."""
    vectors = torch.tensor([[3.0, 4.0], [0.3, 0.4], [30.0, 40.0]])
    start = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 20.0]])
    at_most(1.5)(vectors, start, 2.0)
    assert torch.allclose(vectors, torch.tensor([[1.8, 2.4], [0.3, 0.4], [12.0, 16.0]]))
    for length, longest in ((0.01, 0.015), (100.0, None)):
        start = torch.full((1, WIDTH), 1e-4)
        plan = replace(PLAN, constraint=at_most(1.5), lengths={"clip_l": length, "other": 1e-9})
        _, steps = run(plan, new_state({"it": {"clip_l": start}}, 5, torch.device("cpu")))
        if longest:
            assert steps[-1].vector_norm == pytest.approx(longest)
        else:
            assert steps[-1].vector_norm > 0.015


def test_a_pull_goes_a_share_of_the_way_back() -> None:
    """After each step; with a share of 1 nothing is learned, and constraints come one after the other."""
    vectors, start = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]])
    in_turn([pulled_to_start(0.25), fixed_norm])(vectors, start, 1.0)
    assert torch.allclose(vectors, torch.tensor([[2.5, 3.0]]) / math.hypot(2.5, 3.0))
    state, _ = run(replace(PLAN, constraint=pulled_to_start(1.0)))
    assert all(torch.equal(vectors, start) for vectors, start in state.pairs())


def test_a_step_whose_weights_are_zero_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no gradient, as there was nothing to learn; a loss without a gradient is refused as ever."""
    monkeypatch.setattr(objective, "WEIGHTS", {"none": lambda noise, timesteps, _: torch.zeros(len(timesteps))})
    state, steps = run(replace(PLAN, objective=Objective(weights={"none": 1.0})))
    assert [(step.number, step.loss, step.gradient_norm) for step in steps] == [(n, 0.0, 0.0) for n in (1, 2, 3, 4)]
    assert torch.equal(state.values("it")["clip_l"], initial().values("it")["clip_l"])


def test_only_the_timesteps_asked_for_are_trained() -> None:
    """From the first to before the end; without an end to the last; the draws of all are those of ever."""
    latents, noise = torch.zeros(2000, 1, 1, 1), Fake().noise

    def drawn(**given: Any) -> Tensor:
        return Objective(**given).sample(latents, noise, torch.Generator().manual_seed(1))[1]

    some = drawn(first=200, end=210)
    assert (int(some.min()), int(some.max())) == (200, 209)
    assert int(drawn(first=990).min()) >= 990
    assert torch.equal(drawn(), torch.randint(1000, (2000,), generator=torch.Generator().manual_seed(1)))
    middle = drawn(timesteps="logit_normal").float()
    assert ((middle > 250) & (middle < 750)).float().mean() > 0.7


def test_the_schedule_of_the_objective_is_that_of_the_step() -> None:
    """With zero terminal SNR the last timestep has no signal; the model's own schedule stays as it was."""
    seen: list[Tensor] = []

    class Watched(Fake):
        def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
            seen.append(noisy)
            return super().denoise(noisy, timesteps, condition)

    model = Watched()
    before = model.noise.alphas_cumprod.clone()
    drawn = Objective(first=999, zero_terminal_snr=True)
    data, state = dataset(), initial()
    list(train(state, replace(PLAN, steps=1, objective=drawn), model, data))
    rng = initial().rng
    batch = data.batch(2, initial().order, rng)
    assert torch.equal(seen[0], drawn.sample(batch.latents, model.noise, rng)[0])
    assert torch.equal(model.noise.alphas_cumprod, before)


def test_input_noise_is_given_but_not_asked_for() -> None:
    """The UNet sees other noise than that it is to find; a batch in pieces has the same."""
    plan = replace(PLAN, objective=Objective(noise=NoiseRules(ip_noise_gamma=0.5)))
    state, steps = run(plan)
    assert [step.loss for step in steps] != [step.loss for step in run(PLAN)[1]]
    other = initial()
    for _ in range(plan.steps):
        take_step(other, plan, Fake(), dataset(), pieces=2)
    assert torch.allclose(other.values("it")["clip_l"], state.values("it")["clip_l"], atol=1e-6)


def test_the_rate_is_any_function_of_the_step() -> None:
    """Asked for the step that the update starts from."""
    _, steps = run(replace(PLAN, rate=lambda step: 0.1 / (step + 1)))
    assert [step.rate for step in steps] == [0.1, 0.05, 0.1 / 3, 0.025]


def two_words() -> State:
    """The word "it" beside another."""
    rng = torch.Generator().manual_seed(2)
    words = {"it": torch.randn(2, WIDTH, generator=rng), "b": torch.randn(1, WIDTH, generator=rng)}
    return new_state({name: {"clip_l": v} for name, v in words.items()}, 5, torch.device("cpu"))


def test_words_are_plural() -> None:
    """Each word's vectors move, are measured and come out by name; the numbers shown are those of the furthest."""
    state, steps = run(PLAN, two_words())
    moved = {
        name: float((v["clip_l"] - state.start[name]["clip_l"]).norm(dim=1).mean()) for name, v in state.vectors.items()
    }
    assert min(moved.values()) > 0
    assert steps[-1].distance == pytest.approx(max(moved.values()))
    assert [tuple(v["clip_l"].shape) for v in (state.values("it"), state.values("b"))] == [(2, WIDTH), (1, WIDTH)]
    data: Any = both_words()
    eval_set = make_eval_set(examples(3), data.reader, Fake().noise, draws=1, seed=1)
    assert evaluate(Fake(), eval_set, state.vectors) != evaluate(Fake(), eval_set, two_words().vectors)
