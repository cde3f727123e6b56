"""OpenCLIP's text encoder (open_clip/transformer.py of open-clip-torch 2.20) by the names of transformers' CLIP."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message

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


def to_transformers_names(tensors: Mapping[str, Tensor], prefix: str, layers: int, model: str) -> dict[str, Tensor]:
    """The first `layers` of the encoder whose names begin with `prefix`: SD2 never uses the last one.

    Queries, keys and values lie in one tensor there, and the projection is the other way round. Raises InputError where
    a weight is missing.
    """
    try:
        renamed = {ours: tensors[prefix + theirs] for ours, theirs in _WHOLE.items()}
        for index in range(layers):
            renamed |= _layer(tensors, f"{prefix}transformer.resblocks.{index}.", f"encoder.layers.{index}.")
    except KeyError as error:
        raise InputError(
            message(
                "checkpoint.open_clip_lacks",
                'The text encoder of "{model}" lacks the weight {weight}. Download the model again.',
                model=model,
                weight=str(error),
            )
        ) from error
    if prefix + "text_projection" in tensors:
        renamed["text_projection.weight"] = tensors[prefix + "text_projection"].T.contiguous()
    return renamed


def _layer(tensors: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for end in ("weight", "bias"):
        renamed |= {f"{ours}{name}.{end}": tensors[f"{theirs}{other}.{end}"] for name, other in _LAYER.items()}
        parts = tensors[f"{theirs}attn.in_proj_{end}"].chunk(3)
        renamed |= {f"{ours}self_attn.{name}_proj.{end}": part for name, part in zip("qkv", parts)}
    return renamed
