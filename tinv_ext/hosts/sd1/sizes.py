"""How large the parts of a checkpoint are: as in SD1.5, in a folder of configs, or in the LDM yaml beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tinv_ext.core.errors import InputError

SHIPPED = Path(__file__).parent


@dataclass(frozen=True)
class Sizes:
    """The configs of the parts, as diffusers and transformers name their fields, and the tokenizer's folder."""

    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoder: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    tokenizer: Path


def sizes_for(checkpoint: Path, config: Path | None = None) -> Sizes:
    """Return the sizes from `config` (a folder or a yaml), else from the yaml beside the checkpoint, else SD1's.

    The WebUI looks for the same yaml (v1.10.1, modules/sd_models_config.py). Raises InputError.
    """
    beside = checkpoint.with_suffix(".yaml")
    if config is None and not beside.is_file():
        return of_folder(SHIPPED)
    config = config or beside
    if config.is_dir():
        return of_folder(config)
    if not config.is_file():
        raise InputError(f'The model config "{config}" does not exist. Give a folder of config files or a yaml.')
    return of_yaml(config)


def of_folder(folder: Path) -> Sizes:
    """Return the sizes from the config files of a diffusers folder. Raises InputError."""
    return Sizes(
        unet=read_json(folder / "unet" / "config.json"),
        vae=read_json(folder / "vae" / "config.json"),
        text_encoder=read_json(folder / "text_encoder" / "config.json"),
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
        tokenizer=tokenizer_of(folder / "tokenizer"),
    )


def tokenizer_of(folder: Path) -> Path:
    """Return the folder where it holds CLIP's vocabulary in the form that every transformers reads, else ours."""
    whole = all((folder / name).is_file() for name in ("vocab.json", "merges.txt"))
    return folder if whole else SHIPPED / "tokenizer"


def read_json(path: Path) -> dict[str, Any]:
    """Return an object from a JSON file. Raises InputError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f'The model config "{path}" cannot be read ({error}). Bring the model anew.') from error
    if not isinstance(content, dict):
        raise InputError(f'The model config "{path}" holds no names with values. Bring the model anew.')
    return content


def of_yaml(path: Path) -> Sizes:
    """Return the sizes from a yaml of LatentDiffusion, such as SD1's v1-inference.yaml. Raises InputError."""
    shipped = of_folder(SHIPPED)
    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["params"]
        clip = _clip_folder(params["cond_stage_config"], path)
        return Sizes(
            unet=_unet(params),
            vae=_vae(params),
            text_encoder=read_json(clip / "config.json") if clip else shipped.text_encoder,
            scheduler={**shipped.scheduler, **_noise(params)},
            tokenizer=tokenizer_of(clip) if clip else shipped.tokenizer,
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f'The model config "{path}" cannot be read ({error}). Mend it or take it away.') from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f'The model config "{path}" does not describe a LatentDiffusion of Stable Diffusion 1 ({error!r}). '
            "Mend it, or take it away if the model has the usual sizes."
        ) from error


def _clip_folder(stage: Mapping[str, Any], path: Path) -> Path | None:
    """The local folder that FrozenCLIPEmbedder reads; None where it is CLIP's usual one from the hub."""
    if not str(stage["target"]).endswith("FrozenCLIPEmbedder"):
        raise ValueError(f"the text encoder is {stage['target']}")
    version = (stage.get("params") or {}).get("version")
    if version in (None, "openai/clip-vit-large-patch14"):
        return None
    return path.parent / version


def _unet(params: Mapping[str, Any]) -> dict[str, Any]:
    """ldm's UNetModel as UNet2DConditionModel. ldm counts heads; so does diffusers, by a wrong name."""
    given = params["unet_config"]["params"]
    if given.get("use_linear_in_transformer") or given.get("num_classes"):
        raise ValueError("the UNet is none of SD1")
    multipliers = given["channel_mult"]
    crossed = [2**level in given["attention_resolutions"] for level in range(len(multipliers))]
    return {
        "sample_size": params["image_size"],
        "in_channels": given["in_channels"],
        "out_channels": given["out_channels"],
        "block_out_channels": [given["model_channels"] * multiplier for multiplier in multipliers],
        "down_block_types": ["CrossAttnDownBlock2D" if here else "DownBlock2D" for here in crossed],
        "up_block_types": ["CrossAttnUpBlock2D" if here else "UpBlock2D" for here in reversed(crossed)],
        "layers_per_block": given["num_res_blocks"],
        "attention_head_dim": given["num_heads"],
        "cross_attention_dim": given["context_dim"],
        "transformer_layers_per_block": given.get("transformer_depth", 1),
    }


def _vae(params: Mapping[str, Any]) -> dict[str, Any]:
    """ldm's AutoencoderKL as diffusers'."""
    given = params["first_stage_config"]["params"]["ddconfig"]
    channels = [given["ch"] * multiplier for multiplier in given["ch_mult"]]
    return {
        "sample_size": params["image_size"] * 2 ** (len(channels) - 1),
        "in_channels": given["in_channels"],
        "out_channels": given["out_ch"],
        "latent_channels": given["z_channels"],
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "layers_per_block": given["num_res_blocks"],
        "scaling_factor": params["scale_factor"],
    }


def _noise(params: Mapping[str, Any]) -> dict[str, Any]:
    """ldm's noise schedule; its "linear" is what diffusers calls scaled_linear."""
    return {
        "num_train_timesteps": params["timesteps"],
        "beta_start": params["linear_start"],
        "beta_end": params["linear_end"],
        "prediction_type": "v_prediction" if params.get("parameterization") == "v" else "epsilon",
    }
