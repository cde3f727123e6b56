"""What a file is that holds tensors, but no embedding for a model that we have."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from tinv_ext.core.families import WIDTHS
from tinv_ext.core.formats.tensors import StoredTensor
from tinv_ext.core.messages import Message, message

NOT_EMBEDDINGS: Mapping[str, Message] = {
    "lora_": message("formats.is_lora", "a LoRA without embeddings in it"),
    "model.diffusion_model.": message("formats.is_checkpoint", "a whole checkpoint"),
    "cond_stage_model.": message("formats.is_checkpoint", "a whole checkpoint"),
    "first_stage_model.": message("formats.is_vae", "a VAE"),
    "text_model.": message("formats.is_text_encoder", "a text encoder"),
    "unet.": message("formats.is_lora", "a LoRA without embeddings in it"),
    **dict.fromkeys(
        (
            *("prompt_embeds", "pooled_prompt_embeds", "negative_p", "hidden_state", "last_hidden_state"),
            *("text_embeds", "image_embeds", "encoder_hidden_states", "pooler_output"),
        ),
        message("formats.is_encoder_output", "what an encoder made of whole prompts or images"),
    ),
    "IN01": message("formats.is_xti", "XTI (a vector for each layer of the UNet), which no other program loads"),
    "optimizer_state_dict": message("formats.is_optimizer", "the WebUI's optimizer state (.optim) of an embedding"),
}
"""What a file is that has a key beginning like this."""

_FOREIGN = ("t5xxl", "t5", "umt5", "llama", "gemma", "qwen", "mistral", "text_encoder_3", "text_encoders_2")
"""Keys by which OneTrainer, ComfyUI and diffusers' pivotal tuning name the text encoders of SD3, Flux and later models,
which no model here has; OneTrainer's output vectors end in "_out"."""

OTHER_MODEL = message(
    "formats.is_sd3", "an embedding for SD3, Flux or another model with other text encoders, which is not supported"
)
OUTPUT = message(
    "formats.is_output_embedding",
    "an output embedding of OneTrainer, put in behind the text encoder, where no other program has a place for it",
)
_OUTPUTS = ("emp_params_out", "clip_l_out", "clip_g_out")
WEIGHTS = message("formats.is_weights", "the weights of a model or a LoRA")
_WEIGHT = re.compile(
    r"\.(weight|bias|alpha|scale|position_ids|in_proj_(weight|bias))$|^(logit_scale|positional_embedding|text_projection)$"
)


def foreign_key(values: Mapping[Any, Any], encoders: Collection[str]) -> str | None:
    """The key of a tensor for a text encoder that only other models have, if there is one.

    It is called as such and wide, or stands beside those of `encoders`. (A word may be called "llama", too.)
    """
    beside = any(key in values for key in encoders)
    for key, value in values.items():
        if not isinstance(value, StoredTensor):
            continue
        named = isinstance(key, str) and key.removesuffix("_out") in _FOREIGN
        wide = 1 <= len(value.shape) <= 2 and value.shape[-1] > max(WIDTHS.values())
        if (named and (wide or beside)) or (wide and beside):
            return str(key)
    return None


def output_key(values: Mapping[Any, Any]) -> str | None:
    """The key of OneTrainer's output vectors, where a file has no others."""
    tensors = [str(key) for key, value in values.items() if isinstance(value, StoredTensor)]
    return tensors[0] if tensors and all(key in _OUTPUTS for key in tensors) else None


def is_weight(key: object) -> bool:
    """Whether a key is that of a weight in a model or a LoRA."""
    return isinstance(key, str) and _WEIGHT.search(key) is not None


def other_kind(key: object) -> Message | None:
    """What a file with this key is, if that tells."""
    return next((kind for start, kind in NOT_EMBEDDINGS.items() if str(key).startswith(start)), None)


def of_other_kind(key: object, kind: Message) -> Message:
    """That a file is of another kind, as one of its keys tells."""
    return message(
        "formats.other_kind",
        'The file is {kind} (it contains "{key}"), not an embedding.',
        kind=kind,
        key=str(key)[:60],
    )
