"""The loaded model made ready for training, and everything restored on any exit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from modules import devices

from tinv_ext.hosts.a1111.attention import differentiable
from tinv_ext.hosts.a1111.devices import OffloadedModule, offloaded, on_device, without_lowvram
from tinv_ext.hosts.a1111.patches import native_unet, without_hypernetworks, without_loras, without_tiling
from tinv_ext.hosts.freezing import frozen


@contextmanager
def session(sd_model: Any) -> Iterator[OffloadedModule]:
    """UNet and text encoder on the device, frozen, with the checkpoint's own weights. Yields the VAE, offloaded."""
    try:
        with ExitStack() as stack:
            stack.enter_context(without_loras(sd_model))
            stack.enter_context(without_hypernetworks())
            stack.enter_context(without_tiling())
            stack.enter_context(native_unet())
            stack.enter_context(without_lowvram(sd_model))
            vae = stack.enter_context(offloaded(sd_model.first_stage_model))
            stack.enter_context(on_device(sd_model.model, sd_model.cond_stage_model))
            stack.enter_context(frozen(sd_model))
            stack.enter_context(differentiable(sd_model.model))
            yield vae
    finally:
        devices.torch_gc()
