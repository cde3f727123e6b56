"""Where the parts of the model lie: on the device for the run, and back where they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from modules import devices, lowvram

_CPU = torch.device("cpu")
_HOOK = ("modules.lowvram", "send_me_to_gpu")  # v1.10.1 modules/lowvram.py, setup_for_low_vram
_METHODS = ("encode", "decode")  # of the VAE, which that function replaces on the object
_PRECISION = ("dtype", "dtype_unet", "dtype_inference", "unet_needs_upcast")  # of v1.10.1 modules/devices.py


class OnDemand:
    """A module that is brought to the device when needed and sent away when not."""

    def __init__(self, module: torch.nn.Module, device: torch.device) -> None:
        self._module = module
        self._device = device
        self._here = False

    def bring(self) -> None:
        """Onto the device; does nothing if it is there."""
        if not self._here:
            self._module.to(self._device)
            self._here = True

    def send_away(self) -> None:
        """Off the device; does nothing if it is away."""
        if self._here:
            self._module.to(_CPU)
            self._here = False


@contextmanager
def on_device(*modules: torch.nn.Module) -> Iterator[None]:
    """The modules on the WebUI's device, and afterwards where each of them was."""
    homes = [(module, _device(module)) for module in modules]
    try:
        for module, _ in homes:
            module.to(devices.device)
        yield
    finally:
        for module, home in homes:
            module.to(home)


@contextmanager
def vae_on_demand(vae: torch.nn.Module) -> Iterator[OnDemand]:
    """The VAE away from the device until it is brought, and afterwards where it was."""
    home = _device(vae)
    movable = OnDemand(vae, torch.device(devices.device))
    try:
        vae.to(_CPU)
        yield movable
    finally:
        vae.to(home)


def _device(module: torch.nn.Module) -> torch.device:
    return next(module.parameters()).device


@contextmanager
def full_precision(*modules: torch.nn.Module) -> Iterator[None]:
    """The modules in float32 and the WebUI's autocast off.

    v1.10.1 modules/devices.py: `autocast()` does nothing where `dtype` is float32, and modules/sd_hijack_unet.py brings
    what enters the UNet to `dtype_unet`.
    """
    kept = {name: getattr(devices, name) for name in _PRECISION if hasattr(devices, name)}
    weights = [(weight, weight.dtype) for module in modules for weight in (*module.parameters(), *module.buffers())]
    try:
        for weight, kind in weights:
            if kind.is_floating_point:
                weight.data = weight.data.float()
        for name in kept:
            setattr(devices, name, False if name == "unet_needs_upcast" else torch.float32)
        yield
    finally:
        for name, value in kept.items():
            setattr(devices, name, value)
        for weight, kind in weights:
            weight.data = weight.data.to(kind)  # frozen in between: the very numbers from before


@contextmanager
def without_lowvram(sd_model: Any) -> Iterator[None]:
    """--medvram and --lowvram suspended: their hooks would move the model away between forward and backward."""
    if not getattr(sd_model, "lowvram", False):
        yield
        return
    hooks = [(module, dict(module._forward_pre_hooks)) for module in sd_model.modules() if _hooked(module)]
    vae = sd_model.first_stage_model
    methods = {name: vae.__dict__[name] for name in _METHODS if name in vae.__dict__}
    try:
        lowvram.send_everything_to_cpu()
        for module, kept in hooks:
            for key in [key for key, hook in kept.items() if _is_theirs(hook)]:
                del module._forward_pre_hooks[key]
        for name in methods:
            delattr(vae, name)
        sd_model.lowvram = False
        yield
    finally:
        sd_model.lowvram = True
        for name, method in methods.items():
            setattr(vae, name, method)
        for module, kept in hooks:
            module._forward_pre_hooks.clear()
            module._forward_pre_hooks.update(kept)


def _hooked(module: torch.nn.Module) -> bool:
    return any(_is_theirs(hook) for hook in module._forward_pre_hooks.values())


def _is_theirs(hook: Any) -> bool:
    return (getattr(hook, "__module__", ""), getattr(hook, "__name__", "")) == _HOOK
