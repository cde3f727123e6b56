"""The names in ldm's classes of the weights of diffusers' UNet and autoencoder, for any number of levels and blocks.

Layouts: ldm/modules/diffusionmodules/openaimodel.py (UNetModel) and model.py (Encoder, Decoder) of the Stable
Diffusion repository; diffusers 0.42 UNet2DConditionModel and AutoencoderKL.
"""

from __future__ import annotations

import re

from torch import Tensor

from tinv_ext.toy import parts

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
PLAIN = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",  # of SDXL
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)")


def block_path(side: str, level: int, kind: str, index: int) -> str:
    """Where ldm keeps one module of a level: blocks are numbered through, a sampler ends its level."""
    each = parts.UNET["layers_per_block"]
    if side == "down":
        first = 1 + level * (each + 1)
        if kind == "downsamplers":
            return f"input_blocks.{first + each}.0.op"
        return f"input_blocks.{first + index}.{0 if kind == 'resnets' else 1}"
    first = level * (each + 1)
    if kind == "upsamplers":
        attends = parts.UNET["up_block_types"][level].startswith("CrossAttn")
        return f"output_blocks.{first + each}.{2 if attends else 1}.conv"
    return f"output_blocks.{first + index}.{0 if kind == 'resnets' else 1}"


def resnet(rest: str) -> str:
    """A residual block's inner name."""
    head, tail = rest.split(".", 1)
    return f"{RESNET[head]}.{tail}"


def unet(name: str) -> str:
    """ldm's name for one weight of diffusers' UNet."""
    if match := BLOCK.fullmatch(name):
        side, level, kind, index, rest = match.groups()
        at = block_path(side, int(level), kind, int(index))
        if kind == "resnets":
            return f"{at}.{resnet(rest)}"
        return f"{at}.{rest.removeprefix('conv.')}" if kind.endswith("samplers") else f"{at}.{rest}"
    for mine, theirs in PLAIN.items():
        if name.startswith(f"{mine}."):
            rest = name[len(mine) + 1 :]
            return f"{theirs}.{resnet(rest) if '.resnets.' in mine else rest}"
    raise KeyError(f"The UNet's weight {name!r} has no place in ldm's layout: add it to ldm_names.")


ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def vae(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The autoencoder's weights by ldm's names; attention's matrices become 1×1 kernels."""
    levels = len(parts.VAE["block_out_channels"])
    renamed = {}
    for name, value in values.items():
        name = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
        name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d+)\.", lambda match: f"up.{levels - 1 - int(match[1])}.", name)
        name = re.sub(r"(up\.\d+)\.resnets\.(\d+)", r"\1.block.\2", name)
        name = name.replace(".upsamplers.0", ".upsample")
        if "mid_block.attentions.0." in name:
            name = name.replace("mid_block.attentions.0.", "mid.attn_1.")
            for mine, theirs in ATTENTION.items():
                name = name.replace(f"attn_1.{mine}.", f"attn_1.{theirs}.")
            value = value[:, :, None, None] if value.ndim == 2 else value
        renamed[name] = value
    return renamed
