"""The loaded model made ready for training, and everything undone on any exit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from modules import devices

from tinv_ext.hosts.a1111.attention import differentiable
from tinv_ext.hosts.a1111.devices import OnDemand, on_device, vae_on_demand, without_lowvram
from tinv_ext.hosts.a1111.patches import native_unet, without_hypernetworks, without_loras, without_tiling
from tinv_ext.hosts.freezing import frozen


@contextmanager
def session(sd_model: Any) -> Iterator[OnDemand]:
    """UNet and text encoder alone on the device, frozen, as the checkpoint has them. Gives the VAE, to be brought."""
    vae = sd_model.first_stage_model
    try:
        with ExitStack() as stack:
            stack.enter_context(without_loras(sd_model))
            stack.enter_context(without_hypernetworks())
            stack.enter_context(without_tiling())
            stack.enter_context(native_unet())
            stack.enter_context(without_lowvram(sd_model))
            movable = stack.enter_context(vae_on_demand(vae))
            stack.enter_context(on_device(sd_model.model, sd_model.cond_stage_model))
            stack.enter_context(frozen(sd_model))
            stack.enter_context(differentiable(sd_model.model))
            yield movable
    finally:
        devices.torch_gc()
