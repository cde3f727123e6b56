"""The toy's variants as other programs want them: a diffusers folder, and the WebUI's form with its yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tinv_ext.toy import export, ldm_names, variants

ARCH = "tinv-toy-g"  # of open_clip: the WebUI must be told of it, see docs/toy.md
YAML = Path(__file__).with_name("sdxl.yaml")
# open_clip's names are also in hosts/diffusers/checkpoint/open_clip.py, where they are read: a reader and a writer with
# one table would agree on its mistakes. The real WebUI loads what this writes (tests/webui/test_sdxl.py).
_WHOLE = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def write(variant: str, pipe: Any, folder: Path) -> Path:
    """Write `folder`/diffusers and `folder`/webui with the variant's pipeline; returns the WebUI's checkpoint."""
    diffusers, webui = folder / "diffusers", folder / "webui"
    export.write_diffusers(pipe, diffusers)
    clip = webui / f"{export.NAME}-{variant}-clip"
    clip.mkdir(parents=True, exist_ok=True)
    export.write_clip(pipe, clip)
    checkpoint = webui / f"{export.NAME}-{variant}.safetensors"
    if variant == "sdxl":
        (webui / f"{ARCH}.json").write_text(json.dumps(architecture(), indent=1), encoding="utf-8")
        tensors, text = sgm_tensors(pipe), sdxl_yaml(clip)
    else:
        tensors, text = export.ldm_tensors(pipe), export.yaml_text(clip)
        if variant == "v_prediction":
            text = text.replace("  params:\n", "  params:\n    parameterization: v\n", 1)
    save_file(export.small(tensors), str(checkpoint), metadata={"format": "pt"})
    checkpoint.with_suffix(".yaml").write_text(text, encoding="utf-8")
    return checkpoint


def architecture() -> dict[str, Any]:
    """The second text encoder as one of open_clip's model_configs; the image's half is never used."""
    text = variants.TEXT_2
    return {
        "embed_dim": variants.POOLED,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "width": text["hidden_size"],
            "heads": text["num_attention_heads"],
            "layers": text["num_hidden_layers"],
        },
    }


def sdxl_yaml(clip: Path) -> str:
    """The WebUI's config for the SDXL variant, with CLIP's folder."""
    wide = variants.UNET["block_out_channels"]
    kinds = variants.UNET["down_block_types"]
    values = {
        "adm": variants.UNET["projection_class_embeddings_input_dim"],
        "channels": wide[0],
        "attention": [2**level for level, kind in enumerate(kinds) if kind.startswith("CrossAttn")],
        "blocks": variants.UNET["layers_per_block"],
        "multipliers": [channels // wide[0] for channels in wide],
        "head_channels": wide[0] // variants.UNET["attention_head_dim"],
        "context": variants.CONTEXT,
        "clip": clip.resolve().as_posix(),
        "arch": ARCH,
        "size_width": variants.SIZE_WIDTH,
    }
    text = YAML.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def sgm_tensors(pipe: Any) -> dict[str, Tensor]:
    """Every tensor of a checkpoint of sgm's DiffusionEngine: UNet, autoencoder, both text encoders."""
    tensors = {f"model.diffusion_model.{ldm_names.unet(k)}": v for k, v in pipe.unet.state_dict().items()}
    tensors |= {f"first_stage_model.{k}": v for k, v in ldm_names.vae(pipe.vae.state_dict()).items()}
    first = {key.removeprefix("text_model."): value for key, value in pipe.text_encoder.state_dict().items()}
    tensors |= {f"conditioner.embedders.0.transformer.text_model.{key}": value for key, value in first.items()}
    second = pipe.text_encoder_2.state_dict()
    return tensors | {f"conditioner.embedders.1.model.{key}": value for key, value in open_clip(second).items()}


def open_clip(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """A text encoder with projection by open_clip's names: queries, keys and values in one, the projection turned."""
    values = {key.removeprefix("text_model."): value for key, value in values.items()}
    tensors = {theirs: values[mine] for mine, theirs in _WHOLE.items()}
    for index in range(variants.TEXT_2["num_hidden_layers"]):
        mine, theirs = f"encoder.layers.{index}.", f"transformer.resblocks.{index}."
        for kind in ("weight", "bias"):
            tensors |= {f"{theirs}{b}.{kind}": values[f"{mine}{a}.{kind}"] for a, b in _LAYER.items()}
            tensors[f"{theirs}attn.in_proj_{kind}"] = torch.cat(
                [values[f"{mine}self_attn.{n}_proj.{kind}"] for n in "qkv"]
            )
    tensors["text_projection"] = values["text_projection.weight"].T.contiguous()
    return tensors
