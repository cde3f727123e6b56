"""Stable Diffusion of each family with small numbers and random weights, of the real classes."""

from __future__ import annotations

import copy
from functools import cache
from types import MethodType
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests.paths import CLIP_TOKENIZER

TOKENIZER = CLIP_TOKENIZER
WIDTH = 32  # of SD1's and SD2's text encoder, and of SDXL's first
WIDTH_2 = 48  # of SDXL's second
POOLED = 40
_SHARED = "_tokenizer"  # that of transformers 5: all of it is in there, what a word adds, too
_NEVER_CHANGED = ("encoder", "decoder", "bpe_ranks", "cache", _SHARED)  # to copy them takes a third of a second
_OPEN_CLIP = {"hidden_act": "gelu", "pad_token_id": 0}  # SD2's, and SDXL's second


def sd1(seed: int = 0, **noise: Any) -> StableDiffusionPipeline:
    """A Stable Diffusion 1; `noise` are settings of its scheduler."""
    return _quiet(_made(seed, StableDiffusionPipeline, noise, {}, {}, **_no_checker()))


def sd2(seed: int = 0, **noise: Any) -> StableDiffusionPipeline:
    """A Stable Diffusion 2: OpenCLIP's activation, padding with 0, linear layers in its transformers."""
    unet = {"use_linear_projection": True}
    return _quiet(_made(seed, StableDiffusionPipeline, noise, unet, _OPEN_CLIP, **_no_checker()))


def inpainting(seed: int = 0, **noise: Any) -> StableDiffusionInpaintPipeline:
    """A Stable Diffusion 1 whose UNet takes a mask and a masked image."""
    return _quiet(_made(seed, StableDiffusionInpaintPipeline, noise, {"in_channels": 9}, {}, **_no_checker()))


def sdxl(seed: int = 0, **noise: Any) -> StableDiffusionXLPipeline:
    """A Stable Diffusion XL: two text encoders of different widths, pooled text and sizes for the UNet."""
    unet = {
        "cross_attention_dim": WIDTH + WIDTH_2,
        "use_linear_projection": True,
        "transformer_layers_per_block": (1, 2),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": POOLED + 6 * 8,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 100)
        size = {"hidden_size": WIDTH_2, "projection_dim": POOLED, **_OPEN_CLIP}
        second = _apart(CLIPTextModelWithProjection(_text_config(**size)))
    more = {"text_encoder_2": second, "tokenizer_2": tokenizer("!"), "add_watermarker": False}
    return _quiet(_made(seed, StableDiffusionXLPipeline, noise, unet, {}, **more))


def tokenizer(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """CLIP's tokenizer, a new one each time, since loading an embedding grows it; OpenCLIP pads with "!" (0)."""
    made = _tokenizer(pad)
    kept = {id(part): part for name in _NEVER_CHANGED if (part := getattr(made, name, None)) is not None}
    copied: CLIPTokenizer = copy.deepcopy(made, kept)
    if hasattr(copied, _SHARED):
        copied._add_tokens = MethodType(_grow_apart, copied)
    return copied


def _grow_apart(self: Any, *given: Any, **named: Any) -> Any:
    """In the place of a tokenizer's `_add_tokens`, once: it has had the vocabulary in common with the others."""
    del self._add_tokens
    setattr(self, _SHARED, copy.deepcopy(getattr(self, _SHARED)))
    return self._add_tokens(*given, **named)


@cache
def _tokenizer(pad: str) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(str(TOKENIZER), pad_token=pad, local_files_only=True)


def _made(seed: int, kind: Any, noise: dict[str, Any], unet: dict[str, Any], text: dict[str, Any], **more: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, noisy, vae = _apart(CLIPTextModel(_text_config(**text))), _unet(**unet), _vae()
    return kind(
        vae=vae.eval(),
        text_encoder=encoder,
        tokenizer=tokenizer("!" if text else "<|endoftext|>"),
        unet=noisy.eval(),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            **noise,
        ),
        **more,
    )


def _no_checker() -> dict[str, Any]:
    return {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def _quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _apart(encoder: Any) -> Any:
    """Tokens as far apart as those of a trained CLIP are, beside its small positions: then each of them matters."""
    encoder.get_input_embeddings().weight.data.normal_()
    return encoder.eval()


def _text_config(**changes: Any) -> CLIPTextConfig:
    values = {
        "vocab_size": 49408,
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "projection_dim": WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "pad_token_id": 49407,
    }
    return CLIPTextConfig(**{**values, **changes})


def _unet(**changes: Any) -> UNet2DConditionModel:
    values = {
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": WIDTH,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**{**values, **changes})


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=64,
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.18215,
    )
