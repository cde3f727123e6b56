"""Weights that gradients can pass through: no inference tensors, nothing in place, token tables in full precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_BLOCK, _NORMS = "BasicTransformerBlock", ("norm1", "norm2", "norm3")  # backend/nn/unet.py
Place = tuple[dict[str, Any], str]
"""A module's table of parameters or buffers, and a name in it."""


@contextmanager
def frozen(*modules: torch.nn.Module) -> Iterator[Callable[[], None]]:
    """While open, the modules' weights are ordinary tensors without gradients, and they are in evaluation mode.

    Forge loads under `torch.inference_mode` (backend/loader.py), and autograd refuses the tensors made there. Whatever
    it moves or casts while it makes an image becomes one again; so call what this yields after each image. On exit
    flags and modes are as before. The copies stay: they have the same values and are all the same to Forge, and to
    keep the originals would need their memory twice.
    """
    places = _places(modules)
    flags = {(id(table), name): bool(table[name].requires_grad) for table, name in places}
    modes = [(submodule, submodule.training) for module in modules for submodule in module.modules()]

    def freeze() -> None:
        _make_ordinary(places)
        for table, name in places:
            table[name].requires_grad_(False)

    try:
        freeze()
        for submodule, _ in modes:
            submodule.training = False
        yield freeze
    finally:
        _make_ordinary(places)  # an inference tensor's flag cannot be set
        for table, name in places:
            table[name].requires_grad_(flags[id(table), name])
        for submodule, mode in modes:
            submodule.training = mode


def _places(modules: Sequence[torch.nn.Module]) -> list[Place]:
    submodules = [submodule for module in modules for submodule in module.modules()]
    tables: list[dict[str, Any]] = [table for one in submodules for table in (one._parameters, one._buffers)]
    return [(table, name) for table in tables for name, tensor in table.items() if tensor is not None]


def _make_ordinary(places: Sequence[Place]) -> None:
    """Replace each inference tensor by a copy, one that several modules share by the same copy.

    Each is gone before the next is copied: there is not the memory for all of them twice.
    """
    sharing: dict[int, list[Place]] = {}
    for table, name in places:
        if table[name].is_inference():
            sharing.setdefault(id(table[name]), []).append((table, name))
    for same in sharing.values():
        table, name = same[0]
        copy = _ordinary(table[name])
        for table, name in same:
            table[name] = copy


def _ordinary(tensor: Tensor) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        copy = tensor.detach().clone()
    return torch.nn.Parameter(copy, requires_grad=False) if isinstance(tensor, torch.nn.Parameter) else copy


@contextmanager
def in_float32(*tables: torch.nn.Module) -> Iterator[None]:
    """The weights of these tables in float32, as Forge itself makes them for its first prompt; put back on exit.

    They decide the type of what the text encoder is given: the trained vectors would be rounded to theirs.
    """
    before = [(table, table._parameters["weight"]) for table in tables]
    try:
        for table, weight in before:
            assert weight is not None
            table._parameters["weight"] = torch.nn.Parameter(weight.detach().float(), requires_grad=False)
        yield
    finally:
        for table, weight in before:
            table._parameters["weight"] = weight


@contextmanager
def out_of_place(unet: torch.nn.Module) -> Iterator[None]:
    """Transformer blocks add in place to what their norms have kept for backward: here the norms get copies."""
    blocks = [module for module in unet.modules() if type(module).__name__ == _BLOCK]
    norms = [getattr(block, name, None) for block in blocks for name in _NORMS]
    hooks = [norm.register_forward_pre_hook(_copied) for norm in norms if norm is not None]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _copied(_: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inputs[0].clone(), *inputs[1:])
