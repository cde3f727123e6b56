"""How large the parts of a checkpoint are: as in its family's first model, in a folder of configs, or in a yaml."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinv_ext.core.errors import InputError

_CONFIGS = Path(__file__).parents[1] / "configs"
SHIPPED = {"SD1": _CONFIGS / "sd1", "SD2": _CONFIGS / "sd2", "SDXL": _CONFIGS / "sdxl"}
TOKENIZER = _CONFIGS / "sd1" / "tokenizer"  # CLIP's vocabulary, the same in all families


@dataclass(frozen=True)
class Sizes:
    """The configs of the parts, as diffusers and transformers name their fields, and the tokenizer's folder.

    SDXL has two text encoders. A scheduler without `prediction_type` leaves it to the weights (SD2 has both kinds).
    """

    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoders: tuple[Mapping[str, Any], ...]
    scheduler: Mapping[str, Any]
    tokenizer: Path


def of_folder(folder: Path) -> Sizes:
    """Return the sizes from the config files of a diffusers folder. Raises InputError."""
    texts = [folder / name for name in ("text_encoder", "text_encoder_2") if (folder / name).is_dir()]
    return Sizes(
        unet=read_json(folder / "unet" / "config.json"),
        vae=read_json(folder / "vae" / "config.json"),
        text_encoders=tuple(read_json(text / "config.json") for text in texts),
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
        tokenizer=tokenizer_of(folder / "tokenizer"),
    )


def tokenizer_of(folder: Path) -> Path:
    """Return the folder where it holds CLIP's vocabulary in the form that every transformers reads, else ours."""
    whole = all((folder / name).is_file() for name in ("vocab.json", "merges.txt"))
    return folder if whole else TOKENIZER


def read_json(path: Path) -> dict[str, Any]:
    """Return an object from a JSON file. Raises InputError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f'The model config "{path}" cannot be read ({error}). Bring the model anew.') from error
    if not isinstance(content, dict):
        raise InputError(f'The model config "{path}" holds no names with values. Bring the model anew.')
    return content
