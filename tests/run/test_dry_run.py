"""Steps that are tried out tell what they were like and leave nothing behind."""

from __future__ import annotations

import pytest
import torch

from tests.core.fake import Fake, dataset, initial
from tests.messages import ids, said
from tinv_ext.core.errors import HostError, MemoryShortError
from tinv_ext.core.training.schedules import parse_schedule
from tinv_ext.core.training.trainer import Plan, train
from tinv_ext.run.dry_run import SECONDS, STEPS, DryRun, duration, try_out

PLAN = Plan(4, 3, 1, parse_schedule("0.05").at)


class Timed(Fake):
    """A model by whose clock the steps take so long; the last one stands for all that follow."""

    def __init__(self, *seconds: float) -> None:
        super().__init__()
        self.left, self.now = list(seconds), 0.0

    def clock(self) -> float:
        return self.now

    def denoise(self, noisy: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        self.now += self.left.pop(0) if len(self.left) > 1 else self.left[0]
        return super().denoise(noisy, timesteps, condition)


def seconds_of(*seconds: float) -> tuple[float, ...]:
    """What is measured of steps that take so long."""
    model = Timed(*seconds)
    result = try_out(initial(), PLAN, model, dataset(), model.clock)
    return tuple(round(one, 6) for one in result.seconds)


def test_it_is_undone() -> None:
    """Vectors, optimizer, randomness and order are as before: the run after it is the run without it."""
    plain, tried = initial(), initial()
    result = try_out(tried, PLAN, Fake(), dataset())
    assert result.moved["clip_l"] > 0
    assert min(result.seconds) > 0
    assert tried.step == 0
    for state in (plain, tried):
        list(train(state, PLAN, Fake(), dataset()))
    assert torch.allclose(plain.values("it")["clip_l"], tried.values("it")["clip_l"], rtol=0, atol=1e-7)
    assert torch.equal(plain.rng.get_state(), tried.rng.get_state())
    assert said(result.notices(100), "run.gradient_arrives", encoders=["clip_l"])


def test_the_first_step_does_not_count() -> None:
    """It compiles and fills caches: 3.2 s, where the next take a twentieth of it."""
    assert seconds_of(3.2, 0.15) == (0.15,) * STEPS


@pytest.mark.parametrize("step, count", [(0.1, STEPS), (4.0, 3), (10.0, 1), (600.0, 1)])
def test_a_slow_step_is_not_taken_often(step: float, count: int) -> None:
    """No further one is begun when the time for it is over; one always counts."""
    assert seconds_of(step) == (step,) * count
    assert (count + 1) * step < SECONDS + step or count == 1


def test_one_slow_step_makes_no_other_estimate() -> None:
    """A machine that does something else in between: the least and the middle one are told, not the worst."""
    result = DryRun({"clip_l": 1.0}, 0.1, (0.15, 3.2, 0.17, 0.15, 0.16, 0.18, 0.16), None, ())
    least, usual = "run.seconds", "run.seconds"
    (notice,) = [text for text in result.notices(400) if said([text], "run.step_takes_range", least="0.15")]
    assert said([notice], "run.step_takes_range", middle="0.16", steps=400)
    assert ids([notice.values["shortest"], notice.values["usual"]]) == [least, usual]  # type: ignore[attr-defined]
    even = DryRun({"clip_l": 1.0}, 0.1, (0.15,) * 3, None, ())
    assert said(even.notices(400), "run.step_takes", seconds="0.15", time="60 s")


def test_a_step_without_weights_says_nothing_of_the_gradient() -> None:
    """It had none, and need not have one."""
    for loss in (0.1, 0.0):
        notices = DryRun({"clip_l": 0.0}, loss, (0.15,) * 3, None, ()).notices(400)
        assert said(notices, "run.gradient_arrives") == bool(loss)


def test_what_it_had_to_give_up_is_said_beforehand() -> None:
    """And where nothing helps, that."""
    model = Fake()
    model.most = 1
    notices = list(try_out(initial(), PLAN, model, dataset()).notices(4))
    assert ids(notices)[-2:] == ["training.pieces", "run.settings_that_fit"]
    model.most = 0
    with pytest.raises(MemoryShortError):
        try_out(initial(), PLAN, model, dataset())


def test_a_gradient_that_does_not_arrive_is_told() -> None:
    """An attention that cuts it off."""

    class Deaf(Fake):
        """Its answer has nothing to do with the vectors."""

        def denoise(self, noisy: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            return super().denoise(noisy, timesteps, condition.detach()) + 0 * condition.sum()

    with pytest.raises(HostError, match="No gradient reaches the vectors at step 1"):
        try_out(initial(), PLAN, Deaf(), dataset())


@pytest.mark.parametrize("seconds, text", [(20, "20 s"), (150, "2 min"), (7800, "2 h 10 min")])
def test_durations_are_for_people(seconds: float, text: str) -> None:
    """In the unit that fits."""
    assert duration(seconds) == text
