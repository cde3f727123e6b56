"""AUTOMATIC1111's WebUI itself, as a `Variant`: ldm's and sgm's own models, which it moves and patches by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from modules import devices, shared

from tinv_ext.core.messages import Message, message
from tinv_ext.core.model import Words
from tinv_ext.hosts.a1111.attention import chosen, differentiable
from tinv_ext.hosts.a1111.devices import offloaded, on_device, without_lowvram
from tinv_ext.hosts.a1111.encoders import token_table
from tinv_ext.hosts.a1111.model import WebuiModel
from tinv_ext.hosts.a1111.noise import prediction_of
from tinv_ext.hosts.a1111.patches import (
    active_loras,
    native_unet,
    tiling_restored,
    without_hypernetworks,
    without_loras,
    without_tiling,
)
from tinv_ext.hosts.a1111.variant import Session
from tinv_ext.hosts.cuda_graphs import graphs_of
from tinv_ext.hosts.freezing import frozen
from tinv_ext.hosts.webui.program import may_record_graphs


@contextmanager
def session(sd_model: Any, clip_skip: int, known: Words) -> Iterator[Session]:
    """UNet and text encoder on the device, frozen, with the checkpoint's own weights; the VAE off it until needed."""
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
            undo = stack.enter_context(ExitStack())
            graphs = graphs_of(
                devices.device, (sd_model.model, sd_model.cond_stage_model), undo, may_record_graphs(shared.cmd_opts)
            )
            model = WebuiModel(sd_model, token_table(sd_model), clip_skip, known, vae, undo, graphs)

            def before_image() -> None:
                graphs.clear()
                vae.load()  # the next step offloads it again

            yield Session(model, before_image, after_image=_nothing)
    finally:
        devices.torch_gc()


def _nothing() -> None:
    """An image leaves nothing that the next step does not set right."""


def restored_after_image(sd_model: Any) -> AbstractContextManager[None]:
    """Tiling: an image turns it on or off, and leaves it so."""
    return tiling_restored()


def image_scripts() -> None:
    """An image needs none."""


def prediction(sd_model: Any) -> str:
    """What the model predicts, by our names; by the WebUI's where it cannot be trained."""
    return prediction_of(sd_model)


def dtypes(sd_model: Any) -> tuple[torch.dtype, torch.dtype]:
    """Those of the WebUI's settings."""
    return devices.dtype_unet, devices.dtype_vae


def attention_name() -> str:
    """The optimization that is chosen in the WebUI."""
    return chosen()


def lora_notes(sd_model: Any) -> list[Message]:
    """Which LoRA the run takes out of the layers."""
    loras = active_loras()
    if not loras:
        return []
    return [
        message(
            "hosts.loras_are_removed",
            "The last image left LoRA {loras:, } in the model; the run removes it and puts it back afterwards.",
            loras=loras,
        )
    ]
