"""OpenCLIP's text encoder (open_clip/transformer.py of open-clip-torch 2.20) by the names of transformers' CLIP."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tinv_ext.core.errors import InputError

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


def by_transformers_names(tensors: Mapping[str, Tensor], prefix: str, layers: int, what: str) -> dict[str, Tensor]:
    """The first `layers` of the encoder whose names begin with `prefix`: SD2 never uses the last one.

    Queries, keys and values lie in one tensor there, and the projection is the other way round. Raises InputError where
    a weight is missing.
    """
    try:
        found = {ours: tensors[prefix + theirs] for ours, theirs in _WHOLE.items()}
        for index in range(layers):
            found |= _layer(tensors, f"{prefix}transformer.resblocks.{index}.", f"encoder.layers.{index}.")
    except KeyError as error:
        raise InputError(f"{what[0].upper()}{what[1:]} lacks {error}. Bring the model anew.") from error
    if prefix + "text_projection" in tensors:
        found["text_projection.weight"] = tensors[prefix + "text_projection"].T.contiguous()
    return found


def _layer(tensors: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for kind in ("weight", "bias"):
        found |= {f"{ours}{name}.{kind}": tensors[f"{theirs}{other}.{kind}"] for name, other in _LAYER.items()}
        parts = tensors[f"{theirs}attn.in_proj_{kind}"].chunk(3)
        found |= {f"{ours}self_attn.{name}_proj.{kind}": part for name, part in zip("qkv", parts)}
    return found
