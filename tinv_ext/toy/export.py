"""The toy as other programs want it: a diffusers folder, and the WebUI's form (checkpoint, yaml, CLIP's folder)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor

from tinv_ext.toy import ldm_names, model, parts, words

NAME = "tinv-toy"
YAML = """# the toy's sizes for ldm's classes; CLIP is read from the folder beside this file
model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.00085
    linear_end: 0.0120
    num_timesteps_cond: 1
    timesteps: 1000
    first_stage_key: jpg
    cond_stage_key: txt
    image_size: 8
    channels: 4
    cond_stage_trainable: false
    conditioning_key: crossattn
    scale_factor: 0.18215
    use_ema: false
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        image_size: 8
        in_channels: 4
        out_channels: 4
        model_channels: {channels}
        attention_resolutions: {attention}
        num_res_blocks: {blocks}
        channel_mult: {multipliers}
        num_heads: {heads}
        use_spatial_transformer: true
        transformer_depth: 1
        context_dim: {context}
        use_checkpoint: true
        legacy: false
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 4
        monitor: val/rec_loss
        ddconfig:
          double_z: true
          z_channels: 4
          resolution: 64
          in_channels: 3
          out_ch: 3
          ch: 64
          ch_mult: [1, 1, 1, 1]
          num_res_blocks: 0
          attn_resolutions: []
          dropout: 0.0
        lossconfig:
          target: torch.nn.Identity
    cond_stage_config:
      target: ldm.modules.encoders.modules.FrozenCLIPEmbedder
      params:
        version: {clip}
"""


def yaml_text(clip: Path) -> str:
    """The WebUI's config for the toy, with CLIP's folder."""
    wide = parts.UNET["block_out_channels"]
    attention = [2**level for level, kind in enumerate(parts.UNET["down_block_types"]) if kind.startswith("CrossAttn")]
    return YAML.format(
        channels=wide[0],
        attention=attention,
        blocks=parts.UNET["layers_per_block"],
        multipliers=[channels // wide[0] for channels in wide],
        heads=parts.UNET["attention_head_dim"],
        context=parts.CONTEXT,
        clip=clip.resolve().as_posix(),
    )


def schedule_buffers() -> dict[str, Tensor]:
    """The noise schedule's buffers of ldm's DDPM (ldm/models/diffusion/ddpm.py, register_schedule), in fp32."""
    kept = parts.scheduler().alphas_cumprod.double()
    before = torch.cat([torch.ones(1, dtype=torch.double), kept[:-1]])
    betas = 1 - kept / before
    variance = betas * (1 - before) / (1 - kept)
    buffers = {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": kept.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - kept).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - kept).log(),
        "sqrt_recip_alphas_cumprod": (1 / kept).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / kept - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - kept),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - kept),
    }
    return {name: value.float() for name, value in buffers.items()}


def ldm_tensors(pipe: StableDiffusionPipeline) -> dict[str, Tensor]:
    """Every tensor of an LDM checkpoint: UNet, autoencoder, CLIP and schedule."""
    tensors = {f"model.diffusion_model.{ldm_names.unet(k)}": v for k, v in pipe.unet.state_dict().items()}
    tensors |= {f"first_stage_model.{k}": v for k, v in ldm_names.vae(pipe.vae.state_dict()).items()}
    text = {key.removeprefix("text_model."): value for key, value in pipe.text_encoder.state_dict().items()}
    text["embeddings.position_ids"] = torch.arange(parts.TEXT["max_position_embeddings"])[None]
    tensors |= {f"cond_stage_model.transformer.text_model.{key}": value for key, value in text.items()}
    return {**tensors, **schedule_buffers()}


def small(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """In fp16, each in memory of its own; the schedule stays in fp32."""
    kept = schedule_buffers()
    return {
        name: (value.half() if value.is_floating_point() and name not in kept else value).contiguous().clone()
        for name, value in tensors.items()
    }


def write_clip(pipe: StableDiffusionPipeline, folder: Path) -> None:
    """A CLIP folder that any transformers reads: config and weights with the old prefix, tokenizer files."""
    pipe.text_encoder.config.save_pretrained(folder)
    text = {key.removeprefix("text_model."): value for key, value in pipe.text_encoder.state_dict().items()}
    save_file(
        small({f"text_model.{k}": v for k, v in text.items()}),
        str(folder / "model.safetensors"),
        metadata={"format": "pt"},
    )
    write_tokenizer(folder)


def write_tokenizer(folder: Path, padding: str = "") -> None:
    """CLIP's vocabulary as it is shipped (transformers 5 would write another form), padded with `padding`."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in words.FOLDER.iterdir():
        shutil.copyfile(file, folder / file.name)
    for name in ("tokenizer_config.json", "special_tokens_map.json") if padding else ():
        values = json.loads((folder / name).read_text("utf-8"))
        (folder / name).write_text(json.dumps({**values, "pad_token": padding}, indent=2), encoding="utf-8")


def write_diffusers(pipe: Any, folder: Path) -> None:
    """The pipeline as a folder that diffusers reads with any transformers: 4 and 5 name CLIP's weights differently."""
    pipe.save_pretrained(folder, safe_serialization=True)
    for name in ("text_encoder", "text_encoder_2"):
        if (folder / name).is_dir():
            values = getattr(pipe, name).state_dict()
            save_file(_by_old_names(values), str(folder / name / "model.safetensors"), metadata={"format": "pt"})
    for name in ("tokenizer", "tokenizer_2"):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
            padding = str(getattr(pipe, name).pad_token)
            write_tokenizer(folder / name, padding if name == "tokenizer_2" else "")


def _by_old_names(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names of transformers 4, which 5 reads, too."""
    named = {
        key if key.startswith(("text_model.", "text_projection.")) else f"text_model.{key}": value.contiguous().clone()
        for key, value in values.items()
    }
    return {key: value for key, value in named.items() if not key.endswith("position_ids")}


def export(folder: Path) -> list[Path]:
    """Write `folder`/diffusers and `folder`/webui; returns the two folders and the checkpoint."""
    pipe = model.pipeline()
    diffusers, webui = folder / "diffusers", folder / "webui"
    write_diffusers(pipe, diffusers)
    clip = webui / f"{NAME}-clip"
    clip.mkdir(parents=True, exist_ok=True)
    write_clip(pipe, clip)
    checkpoint = webui / f"{NAME}.safetensors"
    save_file(small(ldm_tensors(pipe)), str(checkpoint), metadata={"format": "pt"})
    checkpoint.with_suffix(".yaml").write_text(yaml_text(clip), encoding="utf-8")
    return [diffusers, webui, checkpoint]
