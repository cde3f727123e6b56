"""Pipelines to time: real shapes, random weights, since the time of a step does not depend on what was learned."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tinv_ext.core.families import SD1, SD2, SDXL, Family
from tinv_ext.hosts.diffusers.checkpoint.configs import shipped_configs
from tinv_ext.toy import parts

SHAPES: Mapping[str, Family] = {"sd15": SD1, "sd2": SD2, "sdxl": SDXL}
_WIDTH = 64  # of narrow layers: the least of which GroupNorm's 32 groups have two channels each
_NARROW_TEXT = {"hidden_size": _WIDTH, "intermediate_size": 2 * _WIDTH, "projection_dim": _WIDTH}


def pipeline(
    name: str, device: torch.device, dtype: torch.dtype, narrow: bool = False, real_vae: bool = False
) -> DiffusionPipeline:
    """The toy, or UNet and text encoders in the shapes of "sd15", "sd2" or "sdxl", with weights from seed 0.

    `narrow` keeps every layer and makes it 64 wide, so that almost nothing is left but the host's own work. Without
    `real_vae` the VAE is the toy's in all of them: latents are encoded once before a run, so that it has no part in a
    step of ours.
    """
    torch.manual_seed(0)
    family = SHAPES.get(name)
    with device:
        with _made_as(torch.float32 if family is None else dtype):  # in float32 SDXL's would first take twice the room
            unet, encoders = _toy() if family is None else _of_family(family, narrow)
        vae = parts.vae() if family is None or narrow or not real_vae else _vae(family)
    for part in (unet, *encoders):
        part.to(dtype).eval()
    tokenizers = [_tokenizer(encoder) for encoder in encoders]
    given: dict[str, Any] = {"vae": vae.eval(), "unet": unet, "scheduler": parts.scheduler()}
    given |= {"text_encoder": encoders[0], "tokenizer": tokenizers[0]}
    made: DiffusionPipeline
    if family is SDXL:
        second = {"text_encoder_2": encoders[1], "tokenizer_2": tokenizers[1]}
        made = StableDiffusionXLPipeline(**given, **second, add_watermarker=False)
    else:
        unused = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        made = StableDiffusionPipeline(**given, **unused)
    made.set_progress_bar_config(disable=True)
    return made


def _toy() -> tuple[torch.nn.Module, list[torch.nn.Module]]:
    return parts.unet(), [parts.text_encoder()]


def _of_family(family: Family, narrow: bool) -> tuple[torch.nn.Module, list[torch.nn.Module]]:
    configs = shipped_configs(family)
    texts = [dict(config) for config in configs.text_encoders]
    unet_config = dict(configs.unet)
    if narrow:
        texts = [{**text, **_NARROW_TEXT, "num_attention_heads": 4} for text in texts]
        unet_config = _narrowed(unet_config, len(texts))
    with _unfilled():
        unet = UNet2DConditionModel.from_config(unet_config)
    _fill(unet)
    return unet, [_text_encoder(text) for text in texts]


def _vae(family: Family) -> torch.nn.Module:
    with _unfilled():
        vae = AutoencoderKL.from_config(dict(shipped_configs(family).vae))
    _fill(vae)
    return vae  # type: ignore[no-any-return]


def _narrowed(config: dict[str, Any], encoders: int) -> dict[str, Any]:
    blocks = len(config["block_out_channels"])
    heads = config["attention_head_dim"]
    narrow = {
        **config,
        "block_out_channels": [_WIDTH] * blocks,
        "attention_head_dim": [4] * blocks if isinstance(heads, list) else heads,
        "cross_attention_dim": _WIDTH * encoders,
    }
    if "addition_time_embed_dim" in config:
        narrow |= {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": _WIDTH + 6 * 8}
    return narrow


def _text_encoder(config: Mapping[str, Any]) -> torch.nn.Module:
    kind = CLIPTextModelWithProjection if config["architectures"] == ["CLIPTextModelWithProjection"] else CLIPTextModel
    return kind(CLIPTextConfig.from_dict(dict(config)))  # type: ignore[no-any-return]


def _tokenizer(encoder: Any) -> Any:
    pad = "!" if encoder.config.pad_token_id == 0 else "<|endoftext|>"  # OpenCLIP pads with the token 0
    folder = str(shipped_configs(SD1).tokenizer)
    return CLIPTokenizer.from_pretrained(folder, pad_token=pad, local_files_only=True)


@contextmanager
def _made_as(dtype: torch.dtype) -> Iterator[None]:
    """What is created inside is of this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _unfilled() -> Iterator[None]:
    """Layers created inside keep their weights uninitialized: torch's own initialization takes minutes."""
    nothing = {"kaiming_uniform_": lambda tensor, **_: tensor, "uniform_": lambda tensor, *_: tensor}
    with patch.multiple("torch.nn.init", **nothing):
        yield


def _fill(model: torch.nn.Module) -> None:
    """Weights spread as torch would spread them, cut from one block of random numbers; biases zero."""
    largest = max(weight.numel() for weight in model.parameters())
    block = torch.randn(min(1 << 24, 2 * largest), dtype=torch.float32)
    with torch.no_grad():
        for index, (name, weight) in enumerate(model.named_parameters()):
            if name.endswith("bias"):
                weight.zero_()
            elif weight.dim() > 1:
                fan_in = weight[0].numel()
                numbers = block[index:].repeat(-(-weight.numel() // (len(block) - index)))[: weight.numel()]
                weight.copy_(numbers.view_as(weight) / math.sqrt(3 * fan_in))
