"""Optimizers made by name, tried, and their whole state copied, put back, saved and restored.

The rows are in `optimizer_rows.py`; nothing here knows one of them by name.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.messages import Message, message

from .optimizer_rows import OPTIMIZERS, OptimizerRow, optimizer_row

_ON_GPU_ONLY = ("bitsandbytes",)  # packages whose optimizers take no step without one
# What cannot train a handful of dense vectors whose gradient is known at one point only.
UNSUPPORTED = {
    "torch.optim.LBFGS": "it wants the loss computed again at other points",
    "torch.optim.SparseAdam": "it takes sparse gradients only",
}


@runtime_checkable
class TakesSamples(Protocol):
    """An optimizer that wants the gradient of each example (`natural_gradient.py`), and limits its steps by itself.

    The mean gradient, which others take and which is clipped, is nothing to it.
    """

    def add(self, gradients: Sequence[Tensor], probes: Sequence[Tensor] | None = None) -> None:
        """Gradients (B, n, d) of B examples in each parameter, and of `probes`, where it is `probing`."""

    def probing(self) -> bool:
        """Whether it wants probes for the next step."""

    def leave_out(self, places: Sequence[int]) -> None:
        """The parameters at these places are not moved: what is known of them is forgotten."""

    def pulls(self, moved: Sequence[Tensor]) -> Tensor:
        """Of each example since the last step how its gradient points along the way that the parameters have `moved`
        so far: the cosine (B,), in the optimizer's own units; NaN where either is 0."""

    def weigh(self, weights: Tensor) -> None:
        """How much each example since the last step counts: `weights` (B,), above 0."""


def takes_samples(name: str) -> bool:
    """Whether the optimizer of a name wants the gradient of each example. InputError if there is none."""
    return issubclass(_class_of(name, optimizer_row(name)), TakesSamples)


def make_optimizer(
    name: str, vectors: Iterable[Tensor], options: Mapping[str, Any] | None = None
) -> torch.optim.Optimizer:
    """The optimizer of a name in `OPTIMIZERS`, or of the path of a class. InputError if there is none.

    The rate is set before each step (`State.update`).
    """
    row, options = optimizer_row(name), options or {}
    if row.path in UNSUPPORTED:
        raise InputError(
            message(
                "training.optimizer_unfit",
                'The optimizer "{name}" cannot train an embedding: {reason}. Choose another.',
                name=name,
                reason=UNSUPPORTED[row.path],
            )
        )
    optimizer_class = _class_of(name, row)
    _refuse_unknown(name, optimizer_class, options)
    try:
        return optimizer_class(list(vectors), **{**row.defaults, **options})
    except Exception as error:  # whatever a package of any origin finds wrong with its arguments
        raise _refused(name, str(error) or type(error).__name__) from error


def try_optimizer(name: str, options: Mapping[str, Any]) -> None:
    """InputError if the optimizer is not there, refuses its arguments, or could not be saved.

    Some look at an argument in the first step only, so one is taken, except with those that want a GPU for it.
    """
    vectors = torch.zeros(2, 8, requires_grad=True)
    optimizer = make_optimizer(name, [vectors], options)
    if optimizer_row(name).package in _ON_GPU_ONLY:
        return
    vectors.grad = torch.ones_like(vectors)
    optimizer.param_groups[0]["lr"] = 1e-3
    try:
        optimizer.step()
        to_tensors_and_json(get_state(optimizer))
    except HostError as error:
        raise InputError(error.problems) from error
    except Exception as error:  # as above
        raise _refused(name, str(error) or type(error).__name__) from error


def _class_of(name: str, row: OptimizerRow) -> type[torch.optim.Optimizer]:
    module, _, attribute = row.path.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
        if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
            raise TypeError(f"{row.path} is not a torch optimizer")
        return found
    except (ImportError, AttributeError, ValueError, TypeError, OSError, RuntimeError) as error:
        if isinstance(error, ModuleNotFoundError) and sys.modules.get(row.path.partition(".")[0]) is None:
            raise InputError(
                message(
                    "training.optimizer_package",
                    'The optimizer "{name}" needs the package {package}, which is not installed. Install it '
                    '("{python}" -m pip install {package}) and start again, or choose another optimizer.',
                    name=name,
                    package=row.package,
                    python=sys.executable,
                )
            ) from error
        raise InputError(
            message(
                "training.optimizer_missing",
                'There is no optimizer "{name}" here ({reason}). Choose one of {known:, }, or give the path of a '
                'class, such as "torch.optim.RAdam", whose package is installed.',
                name=name,
                reason=error if "." in row.path else _near(name),
                known=list(OPTIMIZERS),
            )
        ) from error


def _near(name: str) -> Message:
    """Why a name that is no path of a class is no optimizer's."""
    near = get_close_matches(name.lower(), OPTIMIZERS, 1)
    if not near:
        return message("training.optimizer_no_path", "it is not the path of a class either")
    return message("training.optimizer_near", 'did you mean "{near}"?', near=near[0])


def _refuse_unknown(name: str, optimizer_class: type[torch.optim.Optimizer], options: Mapping[str, Any]) -> None:
    """InputError naming the arguments that the class does not take, or one that is a text where it wants a number."""
    parameters = list(signature(optimizer_class).parameters.values())[1:]  # without the vectors
    known = [one.name for one in parameters if one.kind != one.VAR_KEYWORD and one.name != "lr"]
    takes_all = len(known) < len([one for one in parameters if one.name != "lr"])
    unknown = [option for option in options if option == "lr" or not (takes_all or option in known)]
    if unknown:
        raise InputError(
            message(
                "training.optimizer_arguments",
                'The optimizer "{name}" does not take {unknown:, } (optimizer_args). It takes {known:, }; its learning '
                "rate is the setting learning_rate.",
                name=name,
                unknown=unknown,
                known=[option for option in known if option not in _told(optimizer_row(name))],
            )
        )
    for one in parameters:
        value = options.get(one.name)
        if isinstance(value, str) and type(one.default) in (int, float):
            reason = message(
                "training.optimizer_number", "{option} is not a number: {value}", option=one.name, value=value
            )
            raise _refused(name, reason)


def _told(row: OptimizerRow) -> set[str]:
    """Arguments that the run gives by itself."""
    return {name for name, is_given in (("lengths", row.takes_lengths), ("words", row.takes_words)) if is_given}


def _refused(name: str, reason: str) -> InputError:
    return InputError(
        message(
            "training.optimizer_values",
            'The optimizer "{name}" cannot work with these arguments ({reason}). Correct optimizer_args.',
            name=name,
            reason=reason,
        )
    )


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
