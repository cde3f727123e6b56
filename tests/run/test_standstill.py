"""A run whose optimizer gets nowhere goes on with another: real runs on a model of a few lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.fake_host import FakeHost
from tests.messages import said
from tests.run.test_best_result import learnt
from tests.run.test_runner import Configure, Watch, config, host, rows
from tinv_ext.core.training import standstill
from tinv_ext.core.training.standstill import Successor
from tinv_ext.core.training.state import load_state
from tinv_ext.run import runner
from tinv_ext.run.events import Noticed, RunControls

__all__ = ["config", "host"]  # the fixtures of a short run

NOTICE = "run.next_optimizer"
# a natural gradient whose steps are so short that nothing moves
STUCK = {
    "optimizer": "ong",
    "optimizer_args": "radius=1e-7",
    "learning_rate": 1,
    "ema_decay": 0.5,
    "steps": 60,
    "evaluate_every": 4,
    "overwrite": True,
}


def told(watch: Watch) -> list[str]:
    """The notices of a run."""
    return [event.text for event in watch.events if isinstance(event, Noticed)]


def stopped_at(step: int, settings: Any, host: FakeHost) -> Watch:
    """A run that was stopped at a step."""
    controls, watch = RunControls(), Watch()
    watch.at[step] = controls.stop.set
    runner.run(settings, host, watch, controls)
    return watch


def test_a_run_that_does_not_move_goes_on_with_ssm(host: FakeHost, config: Configure) -> None:
    """After three evaluations, from its first vectors and with what that one's rate means; then it learns."""
    watch = Watch()
    status = runner.run(config(**STUCK), host, watch)
    assert status.status == "finished"
    assert said(told(watch), NOTICE, checks=3, optimizer="ong", step=28, successor="ssm")
    assert len([text for text in told(watch) if said([text], NOTICE)]) == 1
    curve = rows(watch.folder)
    evaluations = [float(row["evaluation"]) for row in curve if row["evaluation"]]
    assert evaluations[:8] == pytest.approx([evaluations[0]] * 8, rel=1e-3)
    assert evaluations[-1] < 0.9 * evaluations[0]
    rates = {int(row["step"]): row["learn_rate"] for row in curve}
    assert float(rates[28]) == 1.0
    assert float(rates[29]) == pytest.approx(0.2)
    state, _ = load_state(watch.folder.state, torch.device("cpu"), optimizer="ong", options={"radius": 1e-7})
    assert (state.optimizer_name, state.standstill.switched, state.standstill.since) == ("ssm", 1, 28)


def test_then_with_adamw_and_no_further(host: FakeHost, config: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in its turn has three evaluations; the last one keeps the run."""
    row = (Successor("ssm", 1e-9), Successor("adamw", 1e-9))
    monkeypatch.setitem(standstill.SUCCESSORS, "ong", row)
    watch = Watch()
    assert runner.run(config(**STUCK), host, watch).status == "finished"
    assert said(told(watch), NOTICE, optimizer="ong", step=28, successor="ssm")
    assert said(told(watch), NOTICE, optimizer="ssm", step=56, successor="adamw")
    assert len([text for text in told(watch) if said([text], NOTICE)]) == 2


@pytest.mark.parametrize("stop_when_done", [False, True])
def test_resumed_anywhere_it_is_the_same(host: FakeHost, config: Configure, stop_when_done: bool) -> None:
    """Bit for bit: before, at and after the step from which the other goes on, also where it ends by itself then."""
    settings = config(**{**STUCK, "steps": 200, "stop_when_done": stop_when_done, "patience": 20})
    watch = Watch()
    end = runner.run(settings, host, watch)
    assert said(told(watch), NOTICE, step=28)
    assert (end.steps < 200) is stop_when_done
    expected = learnt(host).vectors["clip_l"]
    for step in (3, 27, 28, 29, 30, 50):
        stopped = stopped_at(step, settings, host)
        assert replace(runner.resume(stopped.folder.path, host), file="") == replace(end, file=""), step
        assert torch.equal(learnt(host).vectors["clip_l"], expected), step


@pytest.mark.parametrize("given", [{"optimizer_args": ""}, {"optimizer_args": "scale=0.02"}])
def test_a_run_that_moves_keeps_its_optimizer(host: FakeHost, config: Configure, given: dict[str, Any]) -> None:
    """And so does one that is not evaluated."""
    for every in (1, 4, 0):
        watch = Watch()
        runner.run(config(**{**STUCK, **given, "evaluate_every": every}), host, watch)
        assert not said(told(watch), NOTICE)
        assert {float(row["learn_rate"]) for row in rows(watch.folder)[1:]} == {1.0}


def test_other_optimizers_are_kept(host: FakeHost, config: Configure) -> None:
    """Who asks for one by name and rate has it to the end."""
    watch = Watch()
    runner.run(config(steps=20, learning_rate=1e-9, evaluate_every=2), host, watch)
    assert not said(told(watch), NOTICE)


def test_a_step_that_fails_after_the_change_is_repeated(
    host: FakeHost, config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state from before it is that of the optimizer that took over."""
    runner.run(config(**STUCK), host)
    expected = learnt(host).vectors["clip_l"]
    fail_once(monkeypatch, 30)
    runner.run(config(**STUCK), host)
    assert torch.equal(learnt(host).vectors["clip_l"], expected)


def fail_once(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have memory run out once, after the update of a step."""
    from tinv_ext.core.training.state import State

    real: Callable[..., None] = State.average
    failed: list[int] = []

    def average(state: State, *given: Any) -> None:
        real(state, *given)
        if state.step == number and not failed:
            failed.append(number)
            raise MemoryError

    monkeypatch.setattr(State, "average", average)
