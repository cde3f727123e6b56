"""Reading the tensors of a checkpoint file, and only these: nothing in the file is ever run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the file's tensors by name, on the CPU, in the file's own types. Raises InputError."""
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    return _read_torch(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            message(
                "checkpoint.safetensors_unreadable",
                'The file "{path}" cannot be read as safetensors ({error}). Download it again.',
                path=path,
                error=str(error),
            )
        ) from error
    return tensors


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            message(
                "checkpoint.unsafe_pickle",
                'The file "{path}" has more than weights in it, or is damaged. It was not opened, because a pickle can '
                "run any code. Convert it to .safetensors with a tool that you trust.",
                path=path,
            )
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise InputError(
            message(
                "checkpoint.torch_unreadable",
                'The file "{path}" cannot be read as a torch checkpoint ({error}). Download it again.',
                path=path,
                error=str(error),
            )
        ) from error
    return _tensors_of(content, path)


def _tensors_of(content: Any, path: Path) -> dict[str, Tensor]:
    """The innermost `state_dict` of a training checkpoint, without what is not a tensor."""
    while isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise InputError(
            message(
                "checkpoint.no_weights",
                'The file "{path}" has no dictionary of weights, so it is not a model. Give a checkpoint.',
                path=path,
            )
        )
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
