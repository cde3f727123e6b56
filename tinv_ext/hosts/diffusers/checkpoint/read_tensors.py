"""Reading the tensors of a checkpoint file, and only these: nothing in the file is ever run.

What torch.save wrote is read by the package's own reader: torch.load believes what a file says of sizes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.formats.tensors import StoredTensor
from tinv_ext.core.formats.torch_read import SPARE, UNPACKED, read_torch_checkpoint
from tinv_ext.core.messages import Message, message

_DEEPEST = 8
SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the file's tensors by name, on the CPU, in the file's own types. Raises InputError."""
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    return _read_torch(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(str(path))
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(
            message(
                "checkpoint.safetensors_unreadable",
                'The file "{path}" cannot be read as safetensors ({error}). Download it again.',
                path=path,
                error=str(error),
            )
        ) from error
    return tensors


_UNSAFE = ("formats.pickle_name", "formats.pickle_call", "formats.no_storage")


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        stored = _tensors_of(read_torch_checkpoint(path), path)
        count = sum(math.prod(tensor.shape) for tensor in stored.values())
        if count > UNPACKED * path.stat().st_size + SPARE:
            raise FormatError(message("checkpoint.tensors_too_large", "its tensors are larger than the file"))
        return {name: tensor.read() for name, tensor in stored.items()}
    except FormatError as error:
        reason = error.problems[0]
        if isinstance(reason, Message) and reason.id in _UNSAFE:
            raise InputError(
                message(
                    "checkpoint.unsafe_pickle",
                    'The file "{path}" has more than weights in it, or is damaged. It was not opened, because a pickle '
                    "can run any code. Convert it to .safetensors with a tool that you trust.",
                    path=path,
                )
            ) from error
        raise InputError(_unreadable(path, reason.removesuffix("."))) from error
    except OSError as error:
        raise InputError(_unreadable(path, error.strerror or str(error))) from error


def _unreadable(path: Path, reason: str) -> Message:
    return message(
        "checkpoint.torch_unreadable",
        'The file "{path}" cannot be read as a torch checkpoint ({error}). Download it again.',
        path=path,
        error=reason,
    )


def _tensors_of(content: Any, path: Path) -> dict[str, StoredTensor]:
    """The innermost `state_dict` of a training checkpoint, without what is not a tensor."""
    for _ in range(_DEEPEST):  # it may be in itself
        if not (isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping)):
            break
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise InputError(
            message(
                "checkpoint.no_weights",
                'The file "{path}" has no dictionary of weights, so it is not a model. Give a checkpoint.',
                path=path,
            )
        )
    return {str(name): value for name, value in content.items() if isinstance(value, StoredTensor)}
