"""A checkpoint's tensors by diffusers' names, loaded to the last one, or not at all.

Nothing is left at random values: transformers and diffusers only warn of a weight that they did not find, and
transformers 4 finds none in a text encoder that transformers 5 saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

# Private in diffusers, with this name and these arguments in 0.30.3 and 0.42.0: loaders/single_file_utils.py.
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from torch import Tensor, nn

from tinv_ext.core.errors import InputError
from tinv_ext.core.formats.tensors import StoredTensor
from tinv_ext.core.messages import Message, message
from tinv_ext.hosts.diffusers.checkpoint.read_tensors import Stored

Weight = TypeVar("Weight", Tensor, StoredTensor)  # read already, or not yet
_TEXT_ROOTS = ("embeddings.", "encoder.", "final_layer_norm.")
_PROJECTION = "text_projection.weight"
_POSITIONS = "position_ids"  # 0 … 76: a buffer, which some merged checkpoints hold rounded


def read_weights(stored: Stored, prefix: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Those whose names begin with `prefix`, each in `dtype` as soon as it is read. Raises InputError."""
    return {
        name: one.read().to(dtype)
        for name, one in stored.items()
        if name.startswith(prefix) and not name.endswith(_POSITIONS)
    }


def unet_tensors(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the UNet's tensors by diffusers' names. The running averages (model_ema) are left, as the WebUI does."""
    return _converted(convert_ldm_unet_checkpoint, tensors, config, "UNet")


def vae_tensors(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the VAE's tensors by diffusers' names; 1×1 convolutions of its attention become linear layers."""
    return _converted(convert_ldm_vae_checkpoint, tensors, config, "VAE")


def _converted(
    convert: Callable[..., dict[str, Tensor]], tensors: Mapping[str, Tensor], config: Mapping[str, Any], part: str
) -> dict[str, Tensor]:
    try:
        return convert(dict(tensors), config={"class_embed_type": None, "addition_embed_type": None, **config})
    except (KeyError, IndexError) as error:
        raise InputError(
            message(
                "checkpoint.part_incomplete",
                "The {part} of the checkpoint has no {weight}. Either it is incomplete, or its size is not that of its "
                "config: then put its yaml next to it.",
                part=part,
                weight=str(error),
            )
        ) from error


def text_tensors(tensors: Mapping[str, Weight], prefix: str = "") -> dict[str, Weight]:
    """Return a text encoder's tensors without prefixes and without what no family uses.

    Older checkpoints and transformers 5 have no `text_model.`; others have a logit scale.
    """
    bare = {
        name[len(prefix) :].removeprefix("text_model."): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    roots = (*_TEXT_ROOTS, _PROJECTION)
    return {name: value for name, value in bare.items() if name.startswith(roots) and _POSITIONS not in name}


def without_projection(values: Mapping[str, Weight]) -> dict[str, Weight]:
    """CLIP's projection left out, which only SDXL's second text encoder uses."""
    return {name: value for name, value in values.items() if name != _PROJECTION}


def load_weights(
    module: nn.Module,
    values: Mapping[str, Tensor | StoredTensor],
    part: Message,
    family: str | Message,
    dtype: torch.dtype = torch.float32,
) -> Any:
    """Return the module with every weight given, in `dtype`. Raises InputError where names or shapes differ.

    `part` and `family` say in its sentence what lacks a weight, and which models have no place for one. Weights that
    are still stored are read one by one, once all names and shapes are right.
    """
    expected = {name: value for name, value in module.state_dict().items() if _POSITIONS not in name}
    if any(name.startswith("text_model.") for name in expected):  # transformers 4, and with projection any
        values = {name if name == _PROJECTION else f"text_model.{name}": value for name, value in values.items()}
    problem = _difference(expected, values, part, family)
    if problem:
        raise InputError(problem)
    read = {
        name: (value.read() if isinstance(value, StoredTensor) else value).to(dtype) for name, value in values.items()
    }
    module.load_state_dict(read, strict=False, assign=True)
    _count_positions(module)
    return module


def _difference(
    expected: Mapping[str, Tensor], values: Mapping[str, Tensor | StoredTensor], part: Message, family: str | Message
) -> Message | None:
    """What does not fit; None when all does."""
    missing = sorted(expected.keys() - values.keys())
    if missing:
        return message(
            "checkpoint.weights_missing",
            "{part} lacks {count} of {total} weights, such as {weight}. Download the model again.",
            part=part,
            count=len(missing),
            total=len(expected),
            weight=missing[0],
        )
    unknown = sorted(values.keys() - expected.keys())
    if unknown:
        return message(
            "checkpoint.weights_unknown",
            "{part} has {count:weight|weights} that {family} has no place for, such as {weight}. Use an unmodified "
            "model.",
            part=part,
            count=len(unknown),
            weight=unknown[0],
            family=family,
        )
    for name, value in values.items():
        if value.shape != expected[name].shape:
            return message(
                "checkpoint.weight_shape",
                "{part} has {weight} in shape {shape}, but its config says {expected}. Put the model's yaml or config "
                "files next to it.",
                part=part,
                weight=name,
                shape=str(tuple(value.shape)),
                expected=str(tuple(expected[name].shape)),
            )
    return None


def _count_positions(module: nn.Module) -> None:
    """CLIP's position numbers, a buffer (1, n) that is built without values and saved only by transformers 4.30."""
    for owner in module.modules():
        buffer = owner._buffers.get(_POSITIONS)
        if buffer is not None:
            owner._buffers[_POSITIONS] = torch.arange(buffer.shape[-1])[None]
