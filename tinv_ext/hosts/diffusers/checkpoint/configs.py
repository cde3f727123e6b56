"""The configs of a checkpoint's parts: those of its family's first model, or read from a folder of configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.families import SD1, Family
from tinv_ext.core.messages import message
from tinv_ext.core.small_files import parse_json, read_small

_CONFIGS = Path(__file__).parents[1] / "configs"
TOKENIZER = _CONFIGS / SD1.config_folder / "tokenizer"  # CLIP's vocabulary, the same in all families


@dataclass(frozen=True)
class ModelConfigs:
    """The configs of the parts, as diffusers and transformers name their fields, and the tokenizer's folder.

    SDXL has two text encoders. A scheduler without `prediction_type` leaves it to the weights (SD2 has both kinds).
    """

    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoders: tuple[Mapping[str, Any], ...]
    scheduler: Mapping[str, Any]
    tokenizer: Path


def shipped_configs(family: Family) -> ModelConfigs:
    """The configs of the family's first model, which are shipped."""
    return read_configs(_CONFIGS / family.config_folder)


def read_configs(folder: Path) -> ModelConfigs:
    """The configs of a diffusers folder, of which no weights are needed. Raises InputError."""
    encoders = [folder / name for name in ("text_encoder", "text_encoder_2") if (folder / name).is_dir()]
    return ModelConfigs(
        unet=read_json(folder / "unet" / "config.json"),
        vae=read_json(folder / "vae" / "config.json"),
        text_encoders=tuple(read_json(encoder / "config.json") for encoder in encoders),
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
        tokenizer=tokenizer_folder(folder / "tokenizer"),
    )


def tokenizer_folder(folder: Path) -> Path:
    """Return the folder where it holds CLIP's vocabulary in the form that every transformers reads, else ours."""
    whole = all((folder / name).is_file() for name in ("vocab.json", "merges.txt"))
    return folder if whole else TOKENIZER


def read_json(path: Path) -> dict[str, Any]:
    """Return an object from a JSON file. Raises InputError."""
    try:
        content = parse_json(read_small(path))
    except (OSError, ValueError) as error:
        raise InputError(
            message(
                "checkpoint.config_unreadable",
                'The model config "{path}" cannot be read ({error}). Download the model again.',
                path=path,
                error=str(error),
            )
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            message(
                "checkpoint.config_no_object",
                'The model config "{path}" is not a JSON object. Download the model again.',
                path=path,
            )
        )
    return content
