"""What earlier generations have left in the model, taken out for a run: LoRA, hypernetworks, tiling, another UNet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from modules import sd_hijack, sd_unet, shared

# extensions-builtin/Lora: its folder is on the path while it loads, so its module is known by the bare name.
_LORA_MODULE = "networks"
_LORA_LAYERS = (
    torch.nn.Linear,
    torch.nn.Conv2d,
    torch.nn.GroupNorm,
    torch.nn.LayerNorm,
    torch.nn.MultiheadAttention,
)


@contextmanager
def without_loras(sd_model: Any) -> Iterator[None]:
    """LoRA weights taken out of the layers, and put back on exit.

    v1.10.1 extensions-builtin/Lora/networks.py, network_apply_weights: the layers' forward merges `loaded_networks`
    into the weights in place, with a backup, and restores them when the list no longer has them. It writes into
    weights that may require gradients, hence no_grad.
    """
    networks = sys.modules.get(_LORA_MODULE)
    apply_weights = getattr(networks, "network_apply_weights", None)
    layers = [module for module in sd_model.modules() if isinstance(module, _LORA_LAYERS)] if apply_weights else []
    if networks is None or apply_weights is None or not (networks.loaded_networks or any(map(_patched, layers))):
        yield
        return
    loaded = list(networks.loaded_networks)

    @torch.no_grad()
    def apply_all(loras: list[Any]) -> None:
        networks.loaded_networks[:] = loras
        for layer in layers:
            apply_weights(layer)

    patched = any(map(_patched, layers))
    try:
        apply_all([])
        yield
    finally:
        if patched:
            apply_all(loaded)
        networks.loaded_networks[:] = loaded


def active_loras() -> list[str]:
    """Names of the LoRA that the last generation has left in the model."""
    networks = sys.modules.get(_LORA_MODULE)
    return [str(network.name) for network in getattr(networks, "loaded_networks", ())]


def _patched(layer: torch.nn.Module) -> bool:
    return bool(getattr(layer, "network_current_names", ()))


@contextmanager
def without_hypernetworks() -> Iterator[None]:
    """v1.10.1 modules/hypernetworks/hypernetwork.py: attention reads this list; a generation leaves its own in it."""
    before = list(shared.loaded_hypernetworks)
    try:
        shared.loaded_hypernetworks.clear()
        yield
    finally:
        shared.loaded_hypernetworks[:] = before


@contextmanager
def without_tiling() -> Iterator[None]:
    """v1.10.1 modules/sd_hijack.py, apply_circular: after a tiling image, all convolutions wrap around the edges."""
    with tiling_restored():
        sd_hijack.model_hijack.apply_circular(False)
        yield


@contextmanager
def tiling_restored() -> Iterator[None]:
    """v1.10.1 modules/processing.py turns tiling on or off as an image asks for it, and leaves it so."""
    hijack = sd_hijack.model_hijack
    before = hijack.circular_enabled
    try:
        yield
    finally:
        hijack.apply_circular(before)


@contextmanager
def native_unet() -> Iterator[None]:
    """v1.10.1 modules/sd_unet.py: a UNet compiled by an extension answers in the model's place, without gradients."""
    before = sd_unet.current_unet
    try:
        sd_unet.current_unet = None
        yield
    finally:
        sd_unet.current_unet = before
