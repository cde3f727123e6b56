"""The batches of a step as one: the same draws, the same gradient, as few passes as shapes and prompts allow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.fake import Fake, dataset, examples, initial
from tinv_ext.core.data.dataset import Dataset
from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.training.balance import Balance
from tinv_ext.core.training.draws import passes, sample_batch
from tinv_ext.core.training.objective import Objective
from tinv_ext.core.training.schedules import parse_schedule
from tinv_ext.core.training.state import State
from tinv_ext.core.training.trainer import Plan, Step, take_step

PLAN = Plan(3, 2, 4, parse_schedule("0.05").at)


class Watched(Fake):
    """Keeps how many images went through at once."""

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        sizes.append(len(noisy))
        return super().denoise(noisy, timesteps, condition)


sizes: list[int] = []


def mixed() -> Dataset:
    """Images of two shapes, some with pixel weights."""
    rng = torch.Generator().manual_seed(4)
    wide = [
        replace(one, name=f"wide {one.name}", latent=LatentDistribution(*torch.randn(2, 4, 2, 4, generator=rng).abs()))
        for one in examples(3)
    ]
    weighted = [replace(one, pixel_weights=torch.rand(1, 2, 2, generator=rng)) for one in examples(2)]
    return dataset([*examples(), *wide, *weighted])


def taken(data: Dataset, pieces: int, plan: Plan = PLAN) -> tuple[State, list[Step]]:
    """State and steps of the plan."""
    state = initial()
    state.balance = Balance(1.0, torch.linspace(0.5, 0.01, 25, dtype=torch.float64))
    sizes.clear()
    return state, [take_step(state, plan, Watched(), data, pieces) for _ in range(plan.steps)]


@pytest.mark.parametrize("make", [dataset, mixed])
def test_batches_together_teach_what_they_teach_one_by_one(make: Any) -> None:
    """The same random numbers, prompts and losses in the same order, the vectors but for rounding."""
    alone, steps_alone = taken(make(), 4)
    together, steps = taken(make(), 1)
    assert torch.equal(alone.rng.get_state(), together.rng.get_state())
    assert [step.prompts for step in steps] == [step.prompts for step in steps_alone]
    assert [step.loss for step in steps] == pytest.approx([step.loss for step in steps_alone], rel=1e-5)
    difference = together.values("it")["clip_l"] - alone.values("it")["clip_l"]
    assert difference.norm() <= 1e-6 * alone.values("it")["clip_l"].norm()
    assert together.balance.table is not None
    assert alone.balance.table is not None
    assert torch.allclose(together.balance.table, alone.balance.table, rtol=1e-4)


def test_a_step_of_one_shape_is_one_pass() -> None:
    """Or as many as are asked for."""
    taken(dataset(), 1, replace(PLAN, steps=1))
    assert sizes == [8]
    taken(dataset(), 4, replace(PLAN, steps=1))
    assert sizes == [2, 2, 2, 2]
    taken(dataset(), 3, replace(PLAN, steps=1))
    assert sizes == [3, 3, 2]


def test_only_what_is_alike_goes_together() -> None:
    """Two shapes are two passes at least; every example of the step is in exactly one of them."""
    data, state = mixed(), initial()
    draws = [sample_batch(state, Objective(), Fake().noise, data, 1) for _ in range(10)]
    for pieces in (1, 4, 10):
        found = list(passes(draws, pieces))
        assert sorted(place for places, _ in found for place in places) == list(range(10))
        assert all(len(places) <= -(-10 // pieces) for places, _ in found)
        for places, draw in found:
            for place, latent, timestep in zip(places, draw.batch.latents, draw.timesteps):
                assert torch.equal(latent, draws[place].batch.latents[0])
                assert torch.equal(timestep, draws[place].timesteps[0])
    assert len(list(passes(draws, 1))) == len({draw.batch.latents.shape for draw in draws}) == 2


def test_prompts_of_other_lengths_do_not_go_together() -> None:
    """A chunk more, though empty, is another prompt to the UNet: it would change the gradient."""
    data, state = dataset(), initial()
    short, long = (sample_batch(state, Objective(), Fake().noise, data, 2) for _ in range(2))
    prompts = tuple(replace(one, chunks=one.chunks * 2) for one in long.batch.prompts)
    longer = replace(long, batch=replace(long.batch, prompts=prompts))
    assert len(list(passes([short, long], 1))) == 1
    assert len(list(passes([short, longer], 1))) == 2
