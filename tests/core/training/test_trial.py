"""A step that is tried out tells what it was like and leaves nothing behind."""

from __future__ import annotations

import pytest
import torch

from tests.core.fake import Fake, dataset, initial
from tinv_ext.core.errors import HostError, MemoryShortError
from tinv_ext.core.training.schedules import parse_schedule
from tinv_ext.core.training.trainer import Plan, train
from tinv_ext.core.training.trial import duration, try_out

PLAN = Plan(4, 3, 1, parse_schedule("0.05").at)


def test_it_is_undone() -> None:
    """Vectors, optimizer, randomness and order are as before: the run after it is the run without it."""
    plain, tried = initial(), initial()
    found = try_out(tried, PLAN, Fake(), dataset())
    assert found.moved["clip_l"] > 0
    assert found.seconds > 0
    assert tried.step == 0
    for state in (plain, tried):
        list(train(state, PLAN, Fake(), dataset()))
    assert torch.allclose(plain.values("it")["clip_l"], tried.values("it")["clip_l"], rtol=0, atol=1e-7)
    assert torch.equal(plain.rng.get_state(), tried.rng.get_state())
    said = list(found.said(100))
    assert said[0].startswith("A gradient reaches the vectors (clip_l); the loss of one step is ")
    assert "100 steps take " in said[1]


def test_what_it_had_to_give_up_is_said_beforehand() -> None:
    """And where nothing helps, that."""
    model = Fake()
    model.most = 1
    given_up = list(try_out(initial(), PLAN, model, dataset()).said(4))[2:]
    assert "pieces" in given_up[-1]
    model.most = 0
    with pytest.raises(MemoryShortError):
        try_out(initial(), PLAN, model, dataset())


def test_no_gradient_is_told() -> None:
    """An attention that cuts the gradient off."""

    class Deaf(Fake):
        """Its answer has nothing to do with the vectors."""

        def denoise(self, noisy: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            return super().denoise(noisy, timesteps, condition.detach()) + 0 * condition.sum()

    with pytest.raises(HostError, match="No gradient reaches the vectors at step 1"):
        try_out(initial(), PLAN, Deaf(), dataset())


@pytest.mark.parametrize("seconds, said", [(20, "20 s"), (150, "2 min"), (7800, "2 h 10 min")])
def test_durations_are_for_people(seconds: float, said: str) -> None:
    """In the unit that fits."""
    assert duration(seconds) == said
