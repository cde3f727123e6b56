"""Plans from settings: what contradicts itself is told before a run, what makes no difference is noticed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.messages import ids, refused, said
from tinv_ext.core.data.epochs import Epochs
from tinv_ext.core.preflight.plan import make_plan, objective_of, on_plan, on_settings, prediction_problems
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.objective import Objective
from tinv_ext.core.training.trainer import Plan


def plan(start: int = 0, resumed: bool = False, **given: Any) -> Plan:
    """The plan of these settings."""
    return make_plan(TrainConfig.from_dict({"steps": 100, "learning_rate": "0.01", **given}), start, resumed)


def test_the_defaults_are_those_of_ever() -> None:
    """One rate, no curve, no weight, every timestep."""
    made = plan()
    assert {made.rate(step) for step in range(100)} == {0.01}
    assert made.objective == Objective()


def test_settings_arrive() -> None:
    """Each in its place."""
    made = plan(lr_scheduler="linear", lr_warmup_steps=0.1, lr_scheduler_min_lr_ratio=0.5, scale_lr=True, batch_size=3)
    assert [made.rate(step) for step in (0, 5, 10, 55, 100)] == pytest.approx([0, 0.015, 0.03, 0.0225, 0.015])
    objective = objective_of(TrainConfig(min_snr_gamma=5.0, debiased_estimation_loss=True, max_timestep=500))
    assert objective.weights == {"min_snr_gamma": 5.0, "debiased_estimation_loss": 1.0}
    assert objective.end == 500


@pytest.mark.parametrize(
    ("name", "means"), [("constant_with_warmup", "constant"), ("cosine_with_min_lr", "cosine"), ("cosine", "cosine")]
)
def test_the_names_of_the_peers_are_known(name: str, means: str) -> None:
    """Some say twice what another setting says."""
    assert TrainConfig.from_dict({"lr_scheduler": name}).lr_scheduler == means


def test_a_list_of_rates_and_a_scheduler_contradict() -> None:
    """One rate that ends is none, and a warm-up goes with both."""
    with refused("preflight.two_schedules", scheduler="cosine"):
        plan(learning_rate="0.01:50, 0.001", lr_scheduler="cosine")
    assert plan(learning_rate="0.01:50", lr_scheduler="cosine").rate(50) == 0.0
    assert plan(learning_rate="0.01:50, 0.001", lr_warmup_steps=10).rate(5) == pytest.approx(0.005)


def test_a_rate_of_a_word_is_no_multiple_of_nothing() -> None:
    """It is told, and the rate 0 of a run alone is taken, as the WebUI has it."""
    words = [{"name": "zworble", "learning_rate": 0.02}, {"name": "quixxly"}]
    with refused("preflight.rate_beside_none", word="zworble", own="0.02"):
        plan(words=words, learning_rate="0")
    assert plan(words=words).paces["zworble"].factor == 2
    assert plan(learning_rate="0").rate(5) == 0


def test_all_contradictions_are_told_at_once() -> None:
    """Of rates, of timesteps and of steps."""
    with refused("preflight.warmup_too_long", warmup=100, steps=100) as caught:
        plan(start=100, lr_warmup_steps=100, min_timestep=500, max_timestep=400)
    assert said(caught.value.problems, "preflight.no_timesteps", first=500, end=400)
    assert said(caught.value.problems, "preflight.no_steps_left", start=100)


@pytest.mark.parametrize(
    ("given", "prediction", "told"),
    [
        ({"scale_v_pred_loss_like_noise_pred": True}, "epsilon", "scale_v_pred_loss_like_noise_pred"),
        ({"zero_terminal_snr": True}, "epsilon", "zero_terminal_snr"),
        ({"v_pred_like_loss": 0.5}, "v_prediction", "v_pred_like_loss"),
        ({"v_pred_like_loss": 0.5}, "epsilon", None),
        ({"zero_terminal_snr": True, "min_snr_gamma": 5.0}, "v_prediction", None),
    ],
)
def test_settings_of_another_prediction_are_refused(given: dict[str, Any], prediction: str, told: str | None) -> None:
    """With the name of the setting."""
    problems = prediction_problems(TrainConfig(**given), prediction)
    assert [problem.values["name"] for problem in problems] == ([told] if told else [])


@pytest.mark.parametrize(
    ("given", "idle"),
    [
        ({}, []),
        ({"lr_scheduler_power": 2.0, "lr_scheduler": "linear"}, ["lr_scheduler_power"]),
        ({"lr_scheduler_min_lr_ratio": 0.1}, ["lr_scheduler_min_lr_ratio"]),
        ({"lr_scheduler_min_lr_ratio": 0.1, "lr_scheduler": "cosine"}, []),
        ({"huber_c": 0.2, "logit_std": 2.0}, ["huber_c", "logit_std"]),
        ({"huber_c": 0.2, "loss_type": "smooth_l1"}, []),
        ({"multires_noise_discount": 0.5}, ["multires_noise_discount"]),
        ({"multires_noise_discount": 0.5, "multires_noise_iterations": 6}, []),
    ],
)
def test_what_makes_no_difference_is_noticed(given: dict[str, Any], idle: list[str]) -> None:
    """As it may have been meant to."""
    assert [notice.values["name"] for notice in on_settings(TrainConfig(**given))] == idle


def test_rates_that_change_are_drawn() -> None:
    """As bars from the run's first step to its last; a rate that stays is no news."""
    falling = plan(lr_scheduler="linear", lr_warmup_steps=10)
    notices = on_plan(falling, TrainConfig(steps=100), 0, Epochs(5, 1), 5)
    drawn = next(notice for notice in notices if notice.id == "preflight.rates_drawn")
    assert drawn.values["bars"][0] == "▁"
    assert "█" in drawn.values["bars"][1:10]
    assert drawn.values["bars"][-1] == "▁"
    assert 40 <= len(drawn.values["bars"]) <= 80
    scaled = TrainConfig(steps=100, batch_size=4, scale_lr=True)
    assert said(
        on_plan(plan(batch_size=4, scale_lr=True), scaled, 0, Epochs(5, 4), 5),
        "preflight.rate_scaled",
        images=4,
        most=0.04,
    )
    assert "preflight.rates_drawn" not in ids(on_plan(plan(), TrainConfig(steps=100), 0, Epochs(5, 1), 5))
