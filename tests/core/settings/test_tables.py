"""Tables of laws, losses, curves and optimizers: a row is all it takes, and the settings know it."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.messages import refused
from tests.paths import ROOT
from tinv_ext.core.preflight.plan import make_plan, objective_of
from tinv_ext.core.settings import SETTINGS, TrainConfig
from tinv_ext.core.training.constraints import CONSTRAINTS
from tinv_ext.core.training.loss_types import ERRORS, THRESHOLDS, WITH_THRESHOLD
from tinv_ext.core.training.loss_weights import WEIGHTS
from tinv_ext.core.training.optimizer_rows import OPTIMIZERS, OptimizerRow, optimizer_row
from tinv_ext.core.training.rates import CURVES
from tinv_ext.core.training.timesteps import OPTIONS, TIMESTEPS
from tinv_ext.core.training.trainer import Plan


def plan(**given: Any) -> Plan:
    """The plan of these settings."""
    return make_plan(TrainConfig.from_dict({"steps": 10, **given}), 0, resumed=False)


def documented(name: str) -> str:
    """What `make docs` would write into the table of settings as the values of one."""
    spec = importlib.util.spec_from_file_location("written_docs", ROOT / "tools" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        spec.loader.exec_module(tool)
    (row,) = (line for line in tool.settings_page("en").splitlines() if line.startswith(f"| `{name}` |"))
    return str(row)


CHOICES = {
    "loss_type": (ERRORS, lambda prediction, target, threshold: prediction - target),
    "huber_schedule": (THRESHOLDS, lambda noise, timesteps, c, scale: timesteps * c),
    "timestep_sampling": (TIMESTEPS, lambda known, count, rng: (torch.zeros(count, dtype=torch.int64), None)),
    "lr_scheduler": (CURVES, lambda progress, cycles, power, span: 0.5),
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_row_is_a_choice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the command line, on the page, in a plan and in the docs; what is no row is refused."""
    table, function = CHOICES[name]
    with refused("settings.not_a_choice", name=name):
        plan(**{name: "own"})
    assert "`own`" not in documented(name)
    monkeypatch.setitem(table, "own", function)  # type: ignore[arg-type]
    assert plan(**{name: "own"}) != plan()
    assert "own" in SETTINGS[name].choices
    assert "`own`" in documented(name)


def test_a_curve_leads_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of its row."""
    monkeypatch.setitem(CURVES, "half", lambda progress, cycles, power, span: 0.5)  # type: ignore[arg-type]
    assert plan(lr_scheduler="half", learning_rate="0.01").rate(3) == pytest.approx(0.005)


def test_an_optimizer_is_suggested(monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as it has a row."""
    monkeypatch.setitem(OPTIMIZERS, "own", OptimizerRow("torch.optim.RAdam"))  # type: ignore[arg-type]
    assert list(SETTINGS["optimizer"].suggestions)[-1] == "own"
    assert optimizer_row("OWN").path == "torch.optim.RAdam"
    assert {"ssm", "ong"} <= set(SETTINGS["optimizer"].suggestions)


def test_a_weight_and_a_constraint_have_the_name_of_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose number they are given, unless it is 0."""
    assert {*WEIGHTS, *CONSTRAINTS} <= set(SETTINGS)
    monkeypatch.setitem(WEIGHTS, "ema_decay", lambda noise, timesteps, number: timesteps * number)  # type: ignore[arg-type]
    assert objective_of(TrainConfig(ema_decay=0.5)).weights == {"ema_decay": 0.5}
    assert objective_of(TrainConfig()).weights == {}

    def added(number: float) -> Any:
        def add(vectors: Tensor, start: Tensor, length: float) -> None:
            vectors.add_(number)

        return add

    monkeypatch.setitem(CONSTRAINTS, "clip_skip", added)  # type: ignore[arg-type]
    vectors = torch.zeros(1, 2)
    plan(clip_skip=2).constraint(vectors, vectors.clone(), 1.0)
    assert vectors.tolist() == [[2.0, 2.0]]
    plan().constraint(vectors, vectors.clone(), 1.0)
    assert vectors.tolist() == [[2.0, 2.0]]


def test_what_belongs_to_rows_names_rows() -> None:
    """Options of laws are settings, and thresholds are of errors."""
    assert set(OPTIONS) <= set(TIMESTEPS)
    assert {setting for options in OPTIONS.values() for setting in options.values()} <= set(SETTINGS)
    assert set(WITH_THRESHOLD) <= set(ERRORS)
    sampled = objective_of(TrainConfig(timestep_sampling="logit_normal", logit_mean=1.0, logit_std=2.0))
    assert sampled.timestep_options == {"mean": 1.0, "std": 2.0}
