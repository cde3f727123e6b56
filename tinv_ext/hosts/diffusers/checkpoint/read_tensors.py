"""Reading the tensors of a checkpoint file, and only these: nothing in the file is ever run.

Each is read when it is asked for, so that a model takes no more memory than its weights do in the type that is wanted.
The package's own readers are used: torch.load believes what a file says of sizes, and safetensors maps whole files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.formats.safetensors_file import read_safetensors
from tinv_ext.core.formats.tensors import StoredTensor
from tinv_ext.core.formats.torch_read import SPARE, UNPACKED, read_torch_checkpoint
from tinv_ext.core.messages import Message, message

_DEEPEST = 8
SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


Stored = Mapping[str, StoredTensor]
"""Tensors by name, of a file."""


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """The file's tensors by name, which are read from it, in its own types, when they are asked for.

    Raises InputError, then and now.
    """
    telling = _telling_safetensors if path.suffix.lower() == ".safetensors" else _telling_torch
    with telling(path):
        if telling is _telling_safetensors:
            stored, _ = read_safetensors(path)
        else:
            stored = _stored_by_torch(path)

    def read(one: StoredTensor) -> Tensor:
        with telling(path):
            return one.read()

    def telling_why(one: StoredTensor) -> StoredTensor:
        return replace(one, read=lambda: read(one))

    return {name: telling_why(one) for name, one in stored.items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All of the file's tensors by name, on the CPU, in the file's own types. Raises InputError."""
    return {name: one.read() for name, one in stored_tensors(path).items()}


@contextmanager
def _telling_safetensors(path: Path) -> Iterator[None]:
    try:
        yield
    except (FormatError, OSError, OverflowError) as error:
        reason = error.problems[0].removesuffix(".") if isinstance(error, FormatError) else str(error)
        raise InputError(
            message(
                "checkpoint.safetensors_unreadable",
                'The file "{path}" cannot be read as safetensors ({error}). Download it again.',
                path=path,
                error=reason,
            )
        ) from error


_UNSAFE = ("formats.pickle_name", "formats.pickle_call", "formats.no_storage")


def _stored_by_torch(path: Path) -> dict[str, StoredTensor]:
    stored = _tensors_of(read_torch_checkpoint(path), path)
    count = sum(math.prod(tensor.shape) for tensor in stored.values())
    if count > UNPACKED * path.stat().st_size + SPARE:
        raise FormatError(message("checkpoint.tensors_too_large", "its tensors are larger than the file"))
    return stored


@contextmanager
def _telling_torch(path: Path) -> Iterator[None]:
    try:
        yield
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
