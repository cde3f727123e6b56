"""The parts of a diffusers folder, each filled from its files weight by weight, in the type that is wanted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.hosts.diffusers.checkpoint.build import empty_text_encoder, empty_unet, empty_vae
from tinv_ext.hosts.diffusers.checkpoint.configs import read_json
from tinv_ext.hosts.diffusers.checkpoint.read_tensors import Stored, stored_tensors
from tinv_ext.hosts.diffusers.checkpoint.weights import load_weights, text_tensors, without_projection

THE_MODEL = message("checkpoint.the_model", "the model")
# How diffusers and transformers call the file of a part; the second is transformers'.
_STEMS = {".safetensors": ("diffusion_pytorch_model", "model"), ".bin": ("diffusion_pytorch_model", "pytorch_model")}
_VARIANTS = ("", ".fp16")  # the first that is there
# A VAE's attention up to diffusers 0.11, by the names that it has today (models/modeling_utils.py reads the same).
_OLD_ATTENTION = re.compile(r"\.(query|key|value|proj_attn)\.(weight|bias)$")
_OF_TODAY = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def files_of_part(folder: Path) -> list[Path]:
    """The files that a part's weights are in, several where its index says so; none where there are none."""
    for variant in _VARIANTS:
        for suffix, stems in _STEMS.items():
            for stem in stems:
                whole = folder / f"{stem}{variant}{suffix}"
                if whole.is_file():
                    return [whole]
                for index in (f"{whole.name}.index.json", f"{stem}{suffix}.index{variant}.json"):
                    if (folder / index).is_file():
                        return _files_in(folder, read_json(folder / index))
    return []


def _files_in(folder: Path, index: Mapping[str, Any]) -> list[Path]:
    """Those that an index names, which lie beside it."""
    named = index.get("weight_map")
    return sorted({folder / Path(str(name)).name for name in named.values()}) if isinstance(named, dict) else []


def read_unet(folder: Path, dtype: torch.dtype) -> Any:
    """The UNet in a folder. Raises InputError."""
    part = message("checkpoint.unet_in", 'The UNet in "{folder}"', folder=folder)
    return _read(folder, empty_unet, _stored_in(folder), part, dtype)


def read_vae(folder: Path) -> Any:
    """The VAE in a folder, in float32. Raises InputError."""
    part = message("checkpoint.vae_in", 'The VAE in "{folder}"', folder=folder)
    stored = {_OLD_ATTENTION.sub(_of_today, name): one for name, one in _stored_in(folder).items()}
    return _read(folder, empty_vae, stored, part, torch.float32)


def _of_today(found: re.Match[str]) -> str:
    return f".{_OF_TODAY[found[1]]}.{found[2]}"


def read_text_encoder(folder: Path, dtype: torch.dtype) -> Any:
    """The text encoder in a folder, whichever transformers saved it. Raises InputError."""
    part = message("checkpoint.text_encoder_in", 'The text encoder in "{folder}"', folder=folder)
    stored = text_tensors(_stored_in(folder))
    encoder = empty_text_encoder(read_json(folder / "config.json"))
    values = stored if hasattr(encoder, "text_projection") else without_projection(stored)
    return load_weights(encoder, values, part, THE_MODEL, dtype)


def _read(
    folder: Path, empty: Callable[[Mapping[str, Any]], Any], stored: Stored, part: Message, dtype: torch.dtype
) -> Any:
    """The part with its weights; what diffusers has no place for is left, as diffusers does."""
    module = empty(read_json(folder / "config.json"))
    known = module.state_dict().keys()
    return load_weights(module, {name: one for name, one in stored.items() if name in known}, part, THE_MODEL, dtype)


def _stored_in(folder: Path) -> dict[str, Any]:
    files = files_of_part(folder)
    if not files:
        raise InputError(
            message(
                "checkpoint.no_weights_file",
                'The folder "{folder}" has no weights, such as {file}. Download the model again.',
                folder=folder,
                file=f"{_STEMS['.safetensors']['text_encoder' in folder.name]}.safetensors",
            )
        )
    return {name: one for file in files for name, one in stored_tensors(file).items()}
