"""Optimizers as data: a name, the class, its defaults. Their whole state can be copied, put back, saved and restored.

An optimizer is added as one row of `OPTIMIZERS` (timm's `optim/_optim_factory.py` is the model). Any other that torch
or an installed package has goes by the path of its class, such as "torch.optim.RAdam" or "prodigyopt.Prodigy".
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.messages import message


@dataclass(frozen=True)
class OptimizerRow:
    """One optimizer: the path of its class, what it is given unless a run says otherwise, and what it is good for."""

    path: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""


OPTIMIZERS: Mapping[str, OptimizerRow] = {
    "adamw": OptimizerRow("torch.optim.AdamW", {"weight_decay": 0.0}, "Decay would pull a word towards no meaning."),
}
DEFAULT = "adamw"
# What cannot train a handful of dense vectors whose gradient is known at one point only.
UNSUPPORTED = {
    "torch.optim.LBFGS": "it wants the loss computed again at other points",
    "torch.optim.SparseAdam": "it takes sparse gradients only",
}


def make_optimizer(
    name: str, vectors: Iterable[Tensor], options: Mapping[str, Any] | None = None
) -> torch.optim.Optimizer:
    """The optimizer of a name in `OPTIMIZERS`, or of the path of a class. InputError if there is none.

    The rate is set before each step (`State.update`).
    """
    row = OPTIMIZERS.get(name, OptimizerRow(name))
    if row.path in UNSUPPORTED:
        raise InputError(
            message(
                "training.optimizer_unfit",
                'The optimizer "{name}" cannot train an embedding: {reason}. Choose another.',
                name=name,
                reason=UNSUPPORTED[row.path],
            )
        )
    module, _, attribute = row.path.rpartition(".")
    try:
        optimizer_class = getattr(import_module(module), attribute)
        if not (isinstance(optimizer_class, type) and issubclass(optimizer_class, torch.optim.Optimizer)):
            raise TypeError(f"{row.path} is not a torch optimizer")
        return optimizer_class(list(vectors), **{**row.defaults, **(options or {})})
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(
            message(
                "training.optimizer_missing",
                'There is no optimizer "{name}" here ({reason}). Choose one of {known:, }, or give the path of a '
                'class, such as "torch.optim.RAdam", whose package is installed.',
                name=name,
                reason=error,
                known=list(OPTIMIZERS),
            )
        ) from error


@dataclass(frozen=True)
class OptimizerState:
    """An optimizer's state: of each parameter in order, and of each group (without its parameters)."""

    parameters: list[dict[str, Any]]
    groups: list[dict[str, Any]]


def get_state(optimizer: torch.optim.Optimizer) -> OptimizerState:
    """A copy of what `optimizer` remembers, tensors where they are."""
    groups = optimizer.param_groups
    parameters = [optimizer.state.get(parameter, {}) for group in groups for parameter in group["params"]]
    kept = [{key: value for key, value in group.items() if key != "params"} for group in groups]
    return OptimizerState([_copied(state) for state in parameters], [_copied(group) for group in kept])


def set_state(optimizer: torch.optim.Optimizer, state: OptimizerState) -> None:
    """Replace all that `optimizer` remembers with a copy of `state`.

    `load_state_dict` would convert every tensor to the type of its parameter; here each keeps its own.
    """
    remaining = iter(state.parameters)
    for group, values in zip(optimizer.param_groups, state.groups):
        for key in [key for key in group if key != "params" and key not in values]:
            del group[key]
        group.update(_copied(values))
        for parameter in group["params"]:
            remembered = next(remaining)
            optimizer.state.pop(parameter, None)
            if remembered:
                optimizer.state[parameter] = _copied(remembered)


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.clone() if isinstance(value, Tensor) else copy.deepcopy(value) for key, value in values.items()}


# --- as tensors by name and JSON, for the state's file -------------------------------------------------------------

# torch keeps these on the CPU, unless the group says otherwise (torch.optim.Optimizer.load_state_dict).
_CPU_KEYS = ("step", "mu_product")


def to_tensors_and_json(state: OptimizerState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and the rest as JSON can hold it, with the names where the tensors were."""
    tensors: dict[str, Tensor] = {}

    def plain(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            tensors[name] = value.detach().cpu().contiguous()
            return {"tensor": name}
        if isinstance(value, Mapping):
            return {"dict": {str(key): plain(item, f"{name}/{key}") for key, item in value.items()}}
        if isinstance(value, (list, tuple)):
            items = [plain(item, f"{name}/{index}") for index, item in enumerate(value)]
            return {"tuple": items} if isinstance(value, tuple) else items
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise HostError(
            message(
                "training.optimizer_unsaveable",
                "The optimizer keeps a {type} ({name}), which cannot be saved: the run could not be resumed. Choose "
                "another optimizer.",
                type=type(value).__name__,
                name=name,
            )
        )

    parts = {"parameters": state.parameters, "groups": state.groups}
    return tensors, {name: plain(part, f"optimizer/{name}") for name, part in parts.items()}


def from_tensors_and_json(
    tensors: Mapping[str, Tensor], rest: Mapping[str, Any], device: torch.device
) -> OptimizerState:
    """The opposite, tensors on `device` except those that torch keeps on the CPU. KeyError where one is missing."""

    groups = [group["dict"] for group in rest["groups"]]
    moves_all = any(group.get("capturable") or group.get("fused") for group in groups)

    def full(value: Any) -> Any:
        if isinstance(value, list):
            return [full(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "dict" in value:
            return {key: full(item) for key, item in value["dict"].items()}
        if "tuple" in value:
            return tuple(full(item) for item in value["tuple"])
        name = str(value["tensor"])
        on_cpu = name.rpartition("/")[2] in _CPU_KEYS and not moves_all
        return tensors[name].to("cpu" if on_cpu else device, copy=True)

    return OptimizerState(full(rest["parameters"]), full(rest["groups"]))
