"""Optimizers as data: each that is installed resumes bit for bit; what cannot work is told."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.fake import WIDTH, Fake, both_words, dataset
from tests.messages import refused
from tinv_ext.core.errors import FormatError, HostError
from tinv_ext.core.training.optimizer_rows import OPTIMIZERS, optimizer_row
from tinv_ext.core.training.optimizers import (
    UNSUPPORTED,
    get_state,
    make_optimizer,
    set_state,
    try_optimizer,
)
from tinv_ext.core.training.state import State, load_state, new_state, save_state
from tinv_ext.core.training.trainer import Plan, Step, train

CPU = torch.device("cpu")
PLAN = Plan(9, 2, 1, lambda step: 0.02 if step < 4 else 0.01)
CLASSES = {
    f"torch.optim.{name}"
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
}
# today's set has Prodigy, too; other rows run where somebody has installed their packages
HERE = [name for name, row in OPTIMIZERS.items() if find_spec(row.path.partition(".")[0])]
EVERY = [*HERE, *sorted(CLASSES - set(UNSUPPORTED))]
OPTIONS: dict[str, dict[str, Any]] = {"torch.optim.SGD": {"momentum": 0.9}, "prodigy": {"d_coef": 2.0}}


def begun(name: str) -> State:
    """Two words at their beginning, one of two vectors and one of one."""
    rng = torch.Generator().manual_seed(1)
    words = {
        "it": {"clip_l": torch.randn(2, WIDTH, generator=rng)},
        "b": {"clip_l": torch.randn(1, WIDTH, generator=rng)},
    }
    return new_state(words, 5, CPU, optimizer=name, options=OPTIONS.get(name))


def steps(state: State, plan: Plan = PLAN, model: Fake | None = None) -> list[Step]:
    """All steps of a plan."""
    return list(train(state, plan, model or Fake(), both_words() if "b" in state.vectors else dataset()))


def vectors(state: State) -> list[Tensor]:
    """A copy of all vectors."""
    return [leaf.detach().clone() for leaf in state.leaves()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    """Bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(one, other))


def test_torch_has_many() -> None:
    """The list is not empty by mistake, and today's set has Prodigy."""
    assert len(CLASSES) > 10
    assert {"torch.optim.AdamW", "torch.optim.Adagrad", "torch.optim.Rprop"} <= set(EVERY)
    assert {"adamw", "sgd", "sgdnesterov", "adafactor"} <= set(HERE)


@pytest.mark.parametrize("name", EVERY)
def test_every_optimizer_resumes_bit_for_bit(name: str, tmp_path: Path) -> None:
    """Stopped, saved, read and resumed: vectors, losses and all that the optimizer remembers are those of one run."""
    whole, first = begun(name), begun(name)
    expected = steps(whole)
    before = steps(first, Plan(4, 2, 1, PLAN.rate))
    assert not same(vectors(first), vectors(begun(name)))
    save_state(first, tmp_path / "state", {})
    second, _ = load_state(tmp_path / "state", CPU, "", name, OPTIONS.get(name))
    assert type(second.optimizer) is type(first.optimizer)
    assert before + steps(second) == expected
    assert same(vectors(second), vectors(whole))
    assert list(second.vectors) == ["it", "b"]
    assert plain(second.optimizer) == plain(whole.optimizer)


def plain(optimizer: torch.optim.Optimizer) -> str:
    """All that an optimizer remembers, as text with every digit."""
    torch.set_printoptions(precision=17)
    state = get_state(optimizer)
    return f"{state.parameters} {state.groups}"


@pytest.mark.parametrize("name", EVERY)
def test_a_step_that_is_taken_again_leaves_no_trace(name: str) -> None:
    """Numbers that are not finite at the fifth step, which is then taken more precisely: the same run."""
    whole, broken = begun(name), begun(name)
    steps(whole)
    steps(broken, model=Fake(poison_at=5, remedies=["full precision"]))
    assert same(vectors(whole), vectors(broken))


def test_a_backup_shares_nothing() -> None:
    """What the optimizer does later changes no backup, also where it works in place."""
    state = begun("adamw")
    steps(state, Plan(2, 2, 1, PLAN.rate))
    backup, kept = state.backup(), vectors(state)
    remembered = plain(state.optimizer)
    steps(state)
    state.restore(backup)
    assert same(vectors(state), kept)
    assert plain(state.optimizer) == remembered
    assert state.step == 2


@pytest.mark.parametrize("name", ["adamw", "torch.optim.NAdam", "torch.optim.Adagrad"])
def test_a_run_may_resume_on_another_device(name: str, tmp_path: Path) -> None:
    """What lay beside the vectors lies beside them again; step counts stay on the CPU, where torch looks for them."""
    state = begun(name)
    steps(state, Plan(3, 2, 1, PLAN.rate))
    save_state(state, tmp_path / "state", {})
    moved, _ = load_state(tmp_path / "state", torch.device("meta"), optimizer=name)
    for leaf in moved.leaves():
        places = {key: value.device.type for key, value in moved.optimizer.state[leaf].items()}
        assert places.pop("step") == "cpu"
        assert places.pop("mu_product", "cpu") == "cpu"
        assert set(places.values()) == {"meta"}


def test_a_file_does_not_decide_which_code_runs(tmp_path: Path) -> None:
    """A state that names another optimizer than the run's is refused before anything is imported."""
    state = begun("adamw")
    state.optimizer_name = "os.system"
    save_state(state, tmp_path / "state", {})
    with refused("state.damaged", FormatError):
        load_state(tmp_path / "state", CPU)


def test_options_and_groups_are_saved(tmp_path: Path) -> None:
    """A file says with which options its optimizer was made; nothing falls back to a default."""
    state = new_state(
        {"it": {"clip_l": torch.ones(1, WIDTH)}}, 5, CPU, options={"betas": (0.8, 0.95), "weight_decay": 0.1}
    )
    save_state(state, tmp_path / "state", {})
    again, _ = load_state(tmp_path / "state", CPU)
    group = again.optimizer.param_groups[0]
    assert (group["betas"], group["weight_decay"]) == ((0.8, 0.95), 0.1)


@pytest.mark.parametrize(
    "name",
    ["torch.optim.NoSuch", "nosuch", "adam w", "torch.optim.lr_scheduler", "builtins.list", "os.system"],
)
def test_an_optimizer_that_is_not_there_is_told(name: str) -> None:
    """By name, with those that are."""
    with refused("training.optimizer_missing", name=name):
        make_optimizer(name, [torch.ones(1, 2, requires_grad=True)])


@pytest.mark.parametrize("name", ["lion", "DAdaptAdam", "AdamW8bit", "prodigy", "nosuchpackage.Adam"])
def test_a_package_that_is_not_there_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how to get it; the package's name is that of the registry, not that of the module."""
    row = optimizer_row(name)
    package = row.path.partition(".")[0]
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)  # import_module then says that it is not there
    with refused("training.optimizer_package", name=name, package=row.package):
        make_optimizer(name, [torch.ones(1, 2, requires_grad=True)])


def test_names_are_known_in_any_case(tmp_path: Path) -> None:
    """As kohya's users write them; the state has one name."""
    state = new_state({"it": {"clip_l": torch.ones(1, WIDTH)}}, 5, CPU, optimizer="AdamW")
    assert isinstance(state.optimizer, torch.optim.AdamW)
    assert state.optimizer.param_groups[0]["weight_decay"] == 0.0
    save_state(state, tmp_path / "state", {})
    assert load_state(tmp_path / "state", CPU, optimizer="adamw")[0].optimizer_name == "adamw"


@pytest.mark.parametrize(
    ("name", "options", "unknown"),
    [
        ("adamw", {"beta": 0.9, "momentum": 1}, ["beta", "momentum"]),
        ("sgd", {"betas": (0.9, 0.99)}, ["betas"]),
        ("adamw", {"lr": 1.0, "eps": 1e-6}, ["lr"]),
    ],
)
def test_arguments_that_it_does_not_take_are_told(name: str, options: dict[str, Any], unknown: list[str]) -> None:
    """All of them; the learning rate is a setting of its own."""
    with refused("training.optimizer_arguments", name=name, unknown=unknown):
        try_optimizer(name, options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adamw", {"betas": 0.9}),
        ("adamw", {"weight_decay": "much"}),
        ("adamw", {"eps": None}),
        ("adafactor", {"clip_threshold": "x"}),
        ("sgd", {"nesterov": True}),
    ],
)
def test_arguments_that_cannot_work_are_told(name: str, options: dict[str, Any]) -> None:
    """Whether the optimizer finds out when it is made or in its first step."""
    with refused("training.optimizer_values", name=name):
        try_optimizer(name, options)


@pytest.mark.parametrize(("name", "option"), [("ong", "radius"), ("ssm", "beta"), ("adamw", "eps")])
def test_a_text_for_a_number_is_told(name: str, option: str) -> None:
    """By the argument and what was given for it, not in the words of the error that it would lead to."""
    with refused("training.optimizer_number", option=option, value="much"):
        try_optimizer(name, {option: "much"})


def test_a_name_with_a_slip_is_told() -> None:
    """With the nearest that there is; the lengths that some are given by themselves are no argument to offer."""
    with refused("training.optimizer_near", near="adamw8bit"):
        try_optimizer("AdamW8bits", {})
    with refused("training.optimizer_arguments", name="ssm", unknown=["radius"], known=["beta", "scale"]):
        try_optimizer("ssm", {"radius": 1})


@pytest.mark.parametrize("name", EVERY)
def test_every_optimizer_can_be_tried(name: str) -> None:
    """What works is not refused."""
    try_optimizer(name, OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_an_optimizer_that_cannot_train_vectors_is_told(name: str) -> None:
    """With the reason."""
    with refused("training.optimizer_unfit", name=name, reason=UNSUPPORTED[name]):
        make_optimizer(name, [torch.ones(1, 2, requires_grad=True)])


def test_a_memory_that_no_file_can_hold_is_told(tmp_path: Path) -> None:
    """Before the run's file is touched."""
    state = begun("adamw")
    remembered = get_state(state.optimizer)
    remembered.groups[0]["callback"] = print
    set_state(state.optimizer, remembered)
    with refused("training.optimizer_unsaveable", HostError, type="builtin_function_or_method"):
        save_state(state, tmp_path / "state", {})
    assert not (tmp_path / "state").exists()
