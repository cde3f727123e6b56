"""The sizes of the toy's parts: SD1's classes with small numbers, built with fresh weights."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

SCALE = 0.18215  # SD1's latent scale; the toy's latents are made to fit it
CONTEXT = 64
TEXT: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": CONTEXT,
    "intermediate_size": 4 * CONTEXT,
    "projection_dim": CONTEXT,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}
VAE: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (64, 64, 64, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 0,
    "latent_channels": 4,
    "norm_num_groups": 32,  # hard-coded in LDM's own code: fewer than 64 channels would erase colours
    "scaling_factor": SCALE,
}
UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (64, 64, 64),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 2,  # SD1's misnomer: the number of heads
    "cross_attention_dim": CONTEXT,
    "norm_num_groups": 32,
}
NOISE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}


def text_encoder() -> CLIPTextModel:
    """CLIP's text transformer, 64 wide, two layers, with CLIP's whole vocabulary."""
    return CLIPTextModel(CLIPTextConfig(**TEXT))


def vae() -> AutoencoderKL:
    """SD1's autoencoder (factor 8, 4 latent channels), 64 channels throughout."""
    return AutoencoderKL(**VAE)


def unet() -> UNet2DConditionModel:
    """SD1's UNet on 8×8 latents."""
    return UNet2DConditionModel(**UNET)


def scheduler() -> DDIMScheduler:
    """SD1's noise schedule."""
    return DDIMScheduler(**NOISE)
