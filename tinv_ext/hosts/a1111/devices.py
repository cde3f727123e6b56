"""On which device and in which precision the model's parts are during a run; restored afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from modules import devices, lowvram

from tinv_ext.hosts.freezing import weights_in_float32

_CPU = torch.device("cpu")
_LOWVRAM_HOOK = ("modules.lowvram", "send_me_to_gpu")  # v1.10.1 modules/lowvram.py, setup_for_low_vram
_WRAPPED_METHODS = ("encode", "decode")  # of the VAE, which that function replaces on the object
_PRECISION = ("dtype", "dtype_unet", "dtype_inference", "unet_needs_upcast")  # of v1.10.1 modules/devices.py


class OffloadedModule:
    """A module that waits on the CPU and is loaded onto the device when it is needed."""

    def __init__(self, module: torch.nn.Module, device: torch.device) -> None:
        self._module = module
        self._device = device
        self._loaded = False

    def load(self) -> None:
        """Move it onto the device, unless it is there."""
        if not self._loaded:
            self._module.to(self._device)
            self._loaded = True

    def offload(self) -> None:
        """Move it to the CPU, unless it is there."""
        if self._loaded:
            self._module.to(_CPU)
            self._loaded = False


@contextmanager
def on_device(*modules: torch.nn.Module) -> Iterator[None]:
    """The modules on the WebUI's device; each returns to its own on exit."""
    homes = [(module, _device_of(module)) for module in modules]
    try:
        for module, _ in homes:
            module.to(devices.device)
        yield
    finally:
        for module, home in homes:
            module.to(home)


@contextmanager
def offloaded(module: torch.nn.Module) -> Iterator[OffloadedModule]:
    """The module off the device until it is loaded; it returns to where it was on exit."""
    home = _device_of(module)
    offloaded_module = OffloadedModule(module, torch.device(devices.device))
    try:
        module.to(_CPU)
        yield offloaded_module
    finally:
        module.to(home)


def _device_of(module: torch.nn.Module) -> torch.device:
    return next(module.parameters()).device


@contextmanager
def full_precision(*modules: torch.nn.Module) -> Iterator[None]:
    """The modules in float32 and the WebUI's autocast off.

    v1.10.1 modules/devices.py: `autocast()` does nothing where `dtype` is float32, and modules/sd_hijack_unet.py casts
    what enters the UNet to `dtype_unet`.
    """
    before = {name: getattr(devices, name) for name in _PRECISION if hasattr(devices, name)}
    try:
        with weights_in_float32(*modules):
            for name in before:
                setattr(devices, name, False if name == "unet_needs_upcast" else torch.float32)
            yield
    finally:
        for name, value in before.items():
            setattr(devices, name, value)


@contextmanager
def without_lowvram(sd_model: Any) -> Iterator[None]:
    """--medvram and --lowvram suspended: their hooks would move the model away between forward and backward."""
    if not getattr(sd_model, "lowvram", False):
        yield
        return
    hooks = [(module, dict(module._forward_pre_hooks)) for module in sd_model.modules() if _has_lowvram_hook(module)]
    vae = sd_model.first_stage_model
    methods = {name: vae.__dict__[name] for name in _WRAPPED_METHODS if name in vae.__dict__}
    try:
        lowvram.send_everything_to_cpu()
        for module, module_hooks in hooks:
            for key in [key for key, hook in module_hooks.items() if _is_lowvram_hook(hook)]:
                del module._forward_pre_hooks[key]
        for name in methods:
            delattr(vae, name)
        sd_model.lowvram = False
        yield
    finally:
        sd_model.lowvram = True
        for name, method in methods.items():
            setattr(vae, name, method)
        for module, module_hooks in hooks:
            module._forward_pre_hooks.clear()
            module._forward_pre_hooks.update(module_hooks)


def _has_lowvram_hook(module: torch.nn.Module) -> bool:
    return any(_is_lowvram_hook(hook) for hook in module._forward_pre_hooks.values())


def _is_lowvram_hook(hook: Any) -> bool:
    return (getattr(hook, "__module__", ""), getattr(hook, "__name__", "")) == _LOWVRAM_HOOK
