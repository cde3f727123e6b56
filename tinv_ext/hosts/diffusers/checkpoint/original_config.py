"""Configs from the yaml that belongs to a checkpoint: of ldm's LatentDiffusion (SD1, SD2) or sgm's DiffusionEngine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tinv_ext.core.errors import InputError
from tinv_ext.core.families import SD1, SD2, SDXL, Family
from tinv_ext.core.messages import message
from tinv_ext.core.small_files import read_small
from tinv_ext.hosts.diffusers.checkpoint.configs import (
    ModelConfigs,
    read_configs,
    read_json,
    shipped_configs,
    tokenizer_folder,
)

_CLIP_ON_HUB = (None, "openai/clip-vit-large-patch14")


def configs_for(checkpoint: Path, family: Family, config: Path | None = None) -> ModelConfigs:
    """The configs from `config` (a folder or a yaml), else from the yaml beside the checkpoint, else the family's.

    The WebUI looks for the same yaml (v1.10.1, modules/sd_models_config.py). Raises InputError.
    """
    beside = checkpoint.with_suffix(".yaml")
    if config is None and not beside.is_file():
        return shipped_configs(family)
    config = config or beside
    if config.is_dir():
        return read_configs(config)
    if not config.is_file():
        raise InputError(
            message(
                "checkpoint.no_config",
                'The model config "{path}" does not exist. Give a folder of config files or a yaml.',
                path=config,
            )
        )
    return read_yaml(config, family)


def read_yaml(path: Path, family: Family) -> ModelConfigs:
    """The configs from a yaml such as v1-inference.yaml, v2-inference-v.yaml, sd_xl_base.yaml. Raises InputError."""
    try:
        params = yaml.safe_load(read_small(path).decode("utf-8"))["model"]["params"]
        return _of_sgm(params, path) if family.codebase == "sgm" else _of_ldm(params, path)
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise InputError(
            message(
                "checkpoint.yaml_unreadable",
                'The model config "{path}" cannot be read ({error}). Fix it or remove it.',
                path=path,
                error=str(error),
            )
        ) from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            message(
                "checkpoint.yaml_wrong",
                'The model config "{path}" does not describe a model of {family} ({error}). Fix it, or remove it if '
                "the model has the usual sizes.",
                path=path,
                family=family.name,
                error=repr(error),
            )
        ) from error


def _of_ldm(params: Mapping[str, Any], path: Path) -> ModelConfigs:
    text, folder = _text_encoder(params["cond_stage_config"], path, SD2)
    return ModelConfigs(
        unet=_unet(params["unet_config"]["params"], params["image_size"]),
        vae=_vae(params, params["image_size"]),
        text_encoders=(text,),
        scheduler={
            **shipped_configs(SD1).scheduler,
            "num_train_timesteps": params["timesteps"],
            "beta_start": params["linear_start"],
            "beta_end": params["linear_end"],  # ldm's "linear" is what diffusers calls scaled_linear
            "prediction_type": "v_prediction" if params.get("parameterization") == "v" else "epsilon",
        },
        tokenizer=folder,
    )


def _of_sgm(params: Mapping[str, Any], path: Path) -> ModelConfigs:
    shipped = shipped_configs(SDXL)
    first, second, *size_cond = params["conditioner_config"]["params"]["emb_models"]
    texts = [_text_encoder(stage, path, SDXL) for stage in (first, second)]
    scaling = params["denoiser_config"]["params"]["scaling_config"]["target"]
    unet = params["network_config"]["params"]
    unet_config = _unet(unet, shipped.unet["sample_size"])
    return ModelConfigs(
        unet={
            **unet_config,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": size_cond[0]["params"]["outdim"],
            "projection_class_embeddings_input_dim": unet["adm_in_channels"],
        },
        vae=_vae(params, unet_config["sample_size"]),
        text_encoders=tuple(text for text, _ in texts),
        scheduler={
            **shipped.scheduler,
            "prediction_type": "v_prediction" if scaling.endswith(".VScaling") else "epsilon",
        },
        tokenizer=texts[0][1],
    )


def _text_encoder(stage: Mapping[str, Any], path: Path, family: Family) -> tuple[Mapping[str, Any], Path]:
    """The config of a text encoder and the tokenizer's folder: CLIP's folder, or open_clip's architecture by name."""
    class_name, params = str(stage["target"]).rpartition(".")[2], stage.get("params") or {}
    if class_name == "FrozenCLIPEmbedder":
        version = params.get("version")
        shipped = shipped_configs(SD1)
        if version in _CLIP_ON_HUB:
            return shipped.text_encoders[0], shipped.tokenizer
        return read_json(path.parent / version / "config.json"), tokenizer_folder(path.parent / version)
    if class_name not in ("FrozenOpenCLIPEmbedder", "FrozenOpenCLIPEmbedder2"):
        raise ValueError(f"a text encoder is {class_name}")
    shipped = shipped_configs(family)
    config, arch = shipped.text_encoders[-1], params.get("arch", "ViT-H-14")
    if arch not in ("ViT-H-14", "ViT-bigG-14"):
        config = {**config, **_open_clip(read_json(path.parent / f"{arch}.json"))}
        if family is SD2 and params.get("layer") == "penultimate":
            config = {**config, "num_hidden_layers": config["num_hidden_layers"] - 1}
    return config, shipped.tokenizer


def _open_clip(config: Mapping[str, Any]) -> dict[str, Any]:
    """The text half of one of open_clip's model_configs."""
    text = config["text_cfg"]
    return {
        "hidden_size": text["width"],
        "intermediate_size": text["width"] * 4,
        "num_hidden_layers": text["layers"],
        "num_attention_heads": text["heads"],
        "projection_dim": config["embed_dim"],
    }


def _unet(original: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The UNetModel of ldm and sgm as UNet2DConditionModel. It counts heads; so does diffusers, by a wrong name."""
    multipliers = original["channel_mult"]
    crossed = [2**level in original["attention_resolutions"] for level in range(len(multipliers))]
    channels = [original["model_channels"] * multiplier for multiplier in multipliers]
    heads = original.get("num_heads", -1)
    return {
        "sample_size": size,
        "in_channels": original["in_channels"],
        "out_channels": original["out_channels"],
        "block_out_channels": channels,
        "down_block_types": ["CrossAttnDownBlock2D" if here else "DownBlock2D" for here in crossed],
        "up_block_types": ["CrossAttnUpBlock2D" if here else "UpBlock2D" for here in reversed(crossed)],
        "layers_per_block": original["num_res_blocks"],
        "attention_head_dim": heads if heads > 0 else [width // original["num_head_channels"] for width in channels],
        "cross_attention_dim": original["context_dim"],
        "transformer_layers_per_block": original.get("transformer_depth", 1),
        "use_linear_projection": bool(original.get("use_linear_in_transformer", False)),
    }


def _vae(params: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The AutoencoderKL of ldm and sgm as diffusers'."""
    original = params["first_stage_config"]["params"]["ddconfig"]
    channels = [original["ch"] * multiplier for multiplier in original["ch_mult"]]
    return {
        "sample_size": size * 2 ** (len(channels) - 1),
        "in_channels": original["in_channels"],
        "out_channels": original["out_ch"],
        "latent_channels": original["z_channels"],
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "layers_per_block": original["num_res_blocks"],
        "scaling_factor": params["scale_factor"],
    }
