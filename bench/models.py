"""Pipelines to time: real shapes, random weights, since the time of a step does not depend on what was learned."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tinv_ext.core.families import SD1
from tinv_ext.hosts.diffusers.checkpoint.configs import shipped_configs
from tinv_ext.toy import parts


def pipeline(model: str, device: torch.device, dtype: torch.dtype) -> StableDiffusionPipeline:
    """The toy or SD1.5, UNet and text encoder by SD1's configs, weights from seed 0.

    The VAE is the toy's in both: latents are encoded once before a run, so that it has no part in a step.
    """
    torch.manual_seed(0)
    configs = shipped_configs(SD1)
    with device:
        if model == "toy":
            unet, encoder = parts.unet(), parts.text_encoder()
        else:
            with _unfilled():
                unet = UNet2DConditionModel.from_config(dict(configs.unet))
            _fill(unet)
            encoder = CLIPTextModel(CLIPTextConfig.from_dict(dict(configs.text_encoders[0])))
        vae = parts.vae()
    made = StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=encoder.to(dtype).eval(),
        tokenizer=CLIPTokenizer.from_pretrained(str(configs.tokenizer), local_files_only=True),
        unet=unet.to(dtype).eval(),
        scheduler=parts.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


@contextmanager
def _unfilled() -> Iterator[None]:
    """Layers created inside keep their weights uninitialized: torch's own initialization takes minutes."""
    nothing = {"kaiming_uniform_": lambda tensor, **_: tensor, "uniform_": lambda tensor, *_: tensor}
    with patch.multiple("torch.nn.init", **nothing):
        yield


def _fill(unet: torch.nn.Module) -> None:
    """Weights spread as torch would spread them, cut from one block of random numbers; biases zero."""
    block = torch.randn(1 << 24)
    with torch.no_grad():
        for index, (name, weight) in enumerate(unet.named_parameters()):
            if name.endswith("bias"):
                weight.zero_()
            elif weight.dim() > 1:
                fan_in = weight[0].numel()
                numbers = block[index:].repeat(-(-weight.numel() // (len(block) - index)))[: weight.numel()]
                weight.copy_(numbers.view_as(weight) / math.sqrt(3 * fan_in))
