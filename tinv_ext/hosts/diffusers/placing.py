"""Where a pipeline computes, and in which precision: the device, the types of its parts, and how it gets there."""

from __future__ import annotations

import torch
from diffusers import DiffusionPipeline

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.core.training.fallbacks import is_out_of_memory
from tinv_ext.hosts.diffusers.pipelines import texts_of
from tinv_ext.hosts.dtypes import DTYPES
from tinv_ext.hosts.offloading import place_offloaded


def device_of(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA if there is one, else the CPU. InputError where torch knows none such."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise _cannot_be_used(name, error) from error


def dtype_of(precision: str) -> torch.dtype:
    """The type of UNet and text encoders in a precision ("fp16"). InputError where there is none such."""
    if precision not in DTYPES:
        raise InputError(
            message(
                "hosts.unknown_precision",
                'There is no precision "{precision}". Choose one of {precisions:, }, or auto.',
                precision=precision,
                precisions=list(DTYPES),
            )
        )
    return DTYPES[precision]


def place(pipeline: DiffusionPipeline, device: torch.device, precision: str) -> bool:
    """Bring the pipeline to a device, UNet and text encoders in a precision ("fp16"); whether it had room for all.

    Where it has not, the large weights stay in the machine's memory. The VAE is in float32: in float16 that of SDXL
    overflows, and encoding happens once. InputError where the device cannot be used.
    """
    try:
        for part in (pipeline.unet, *texts_of(pipeline)):  # before it moves: a card need not hold it in float32
            part.to(dtype_of(precision))
        pipeline.vae.to(torch.float32)
        if device.type == "cuda":  # cuDNN's own layout: without it each convolution converts what it is given
            pipeline.unet.to(memory_format=torch.channels_last)
        return _moved(pipeline, device)
    except (RuntimeError, AssertionError) as error:
        raise _cannot_be_used(str(device), error) from error


def _moved(pipeline: DiffusionPipeline, device: torch.device) -> bool:
    """Bring the pipeline to a device, all but the large weights where it is too small; whether it had room for all."""
    try:
        pipeline.to(device)
    except Exception as error:
        if device.type != "cuda" or not is_out_of_memory(error):
            raise
    else:
        return True
    pipeline.to("cpu")
    torch.cuda.empty_cache()
    place_offloaded((pipeline.unet, *texts_of(pipeline)), device)
    pipeline.vae.to(device)
    return False


def _cannot_be_used(device: str, error: Exception) -> InputError:
    return InputError(
        message(
            "hosts.device_cannot_be_used",
            'The device "{device}" cannot be used: {reason}. Use auto or cpu.',
            device=device,
            reason=str(error),
        )
    )
