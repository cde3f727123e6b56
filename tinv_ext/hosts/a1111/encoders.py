"""The text encoders of the loaded model: the WebUI's wrappers of CLIP and OpenCLIP.

They are called one by one, not through sgm's GeneralConditioner, which encodes without gradients unless it is told
otherwise; what it concatenates is concatenated here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from modules import shared
from torch import Tensor

from tinv_ext.core.families import encoder_of_width
from tinv_ext.core.prompts.reader import Tokenizer
from tinv_ext.hosts.a1111.model_type import class_name
from tinv_ext.hosts.prompt_vectors import ClipTokenizer, ClipTokenTable, TextEncoder


class OpenClipTokenizer:
    """open_clip's SimpleTokenizer as `core.prompts.Tokenizer`; its ids are CLIP's."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.start = int(tokenizer.encoder["<start_of_text>"])
        self.end = int(tokenizer.encoder["<end_of_text>"])
        self.comma = self.ids(",")[0]

    def ids(self, text: str) -> list[int]:
        """Ids of a text of any length, without start and end."""
        return list(self._tokenizer.encode(text))

    def spellings(self, ids: Sequence[int]) -> list[str]:
        """The tokens as CLIP writes them; `</w>` ends a word."""
        return [str(self._tokenizer.decoder[token]) for token in ids]


def token_table(sd_model: Any) -> ClipTokenTable:
    """Tokens and token vectors of the loaded model: CLIP's own tables, inside the WebUI's wrappers."""
    tables = {encoder.key: encoder.table for encoder in text_encoders(sd_model, 1)}
    return ClipTokenTable(_tokenizer(_text_embedders(sd_model)[0].wrapped), tables)


def text_encoders(sd_model: Any, clip_skip: int) -> list[TextEncoder]:
    """The model's text encoders, each with the layer that the WebUI takes."""
    return [_MAKERS[class_name(embedder)](embedder, clip_skip) for embedder in _text_embedders(sd_model)]


def text_tables(sd_model: Any) -> list[torch.nn.Module]:
    """The tables of tokens and positions of all text encoders, where these are transformers'."""
    embeddings = [_text_model(embedder.wrapped.transformer).embeddings for embedder in _text_embedders(sd_model)]
    return [table for one in embeddings for table in (one.token_embedding.wrapped, one.position_embedding)]


def _text_embedders(sd_model: Any) -> list[Any]:
    """v1.10.1 modules/sd_hijack.py, hijack: SDXL has them in its conditioner, other models have one alone."""
    conditioner = getattr(sd_model, "conditioner", None)
    embedders = [sd_model.cond_stage_model] if conditioner is None else conditioner.embedders
    return [embedder for embedder in embedders if class_name(embedder) in _MAKERS]


def _tokenizer(wrapped: Any) -> Tokenizer:
    if hasattr(wrapped, "tokenizer"):
        return ClipTokenizer(wrapped.tokenizer)
    import open_clip.tokenizer

    return OpenClipTokenizer(open_clip.tokenizer._tokenizer)


# --- one function per class; `embedder` is the WebUI's wrapper, `embedder.wrapped` ldm's or sgm's --------------------


def _clip(embedder: Any, clip_skip: int) -> TextEncoder:
    """SD1: the last hidden states, or with clip skip earlier ones, through the final LayerNorm.

    As v1.10.1 modules/sd_hijack_clip.py, FrozenCLIPEmbedderWithCustomWords.encode_with_transformers.
    """
    transformer = embedder.wrapped.transformer
    table = _text_model(transformer).embeddings.token_embedding.wrapped

    def encode(ids: Tensor) -> tuple[Tensor, None]:
        if clip_skip == 1:
            return transformer(input_ids=ids).last_hidden_state, None
        states = transformer(input_ids=ids, output_hidden_states=True).hidden_states
        return _text_model(transformer).final_layer_norm(states[-clip_skip]), None

    return TextEncoder(encoder_of_width(table.embedding_dim), table, embedder.id_pad, encode)


def _open_clip(embedder: Any, clip_skip: int) -> TextEncoder:
    """SD2: the layer of its config, whatever the clip skip. As modules/sd_hijack_open_clip.py."""
    table = embedder.wrapped.model.token_embedding.wrapped

    def encode(ids: Tensor) -> tuple[Tensor, None]:
        return embedder.wrapped.encode_with_transformer(ids), None

    return TextEncoder(encoder_of_width(table.embedding_dim), table, embedder.id_pad, encode)


def _clip_of_sdxl(embedder: Any, clip_skip: int) -> TextEncoder:
    """SDXL's first: the layer of its config without LayerNorm, or by clip skip if the WebUI's settings say so.

    As FrozenCLIPEmbedderForSDXLWithCustomWords there ("Clip skip SDXL", `sdxl_clip_l_skip`).
    """
    wrapped = embedder.wrapped
    table = _text_model(wrapped.transformer).embeddings.token_embedding.wrapped

    def encode(ids: Tensor) -> tuple[Tensor, None]:
        output = wrapped.transformer(input_ids=ids, output_hidden_states=True)
        if shared.opts.sdxl_clip_l_skip is True:
            return output.hidden_states[-clip_skip], None
        return (output.last_hidden_state if wrapped.layer == "last" else output.hidden_states[wrapped.layer_idx]), None

    return TextEncoder("clip_l", table, embedder.id_pad, encode)


def _open_clip_of_sdxl(embedder: Any, clip_skip: int) -> TextEncoder:
    """SDXL's second: the layer of its config, and the projected state of the end token."""
    wrapped = embedder.wrapped
    table = wrapped.model.token_embedding.wrapped

    def encode(ids: Tensor) -> tuple[Tensor, Tensor]:
        output = wrapped.encode_with_transformer(ids)
        return output[wrapped.layer], output["pooled"]

    return TextEncoder("clip_g", table, embedder.id_pad, encode)


def _clip_of_reforge(embedder: Any, clip_skip: int, key: str = "", normed: bool = False) -> TextEncoder:
    """SD2's, and both of SDXL in reForge and Classic, where all are transformers' CLIPTextModel.

    As modules_forge/forge_clip.py: the layer of the config, unless clip skip is beyond `minimal_clip_skip`; Classic has
    no such number and takes that layer always. OpenCLIP's of SDXL has a projection, which is that of the pooled state.
    """
    wrapped, minimal = embedder.wrapped, getattr(embedder, "minimal_clip_skip", None)
    table = _text_model(wrapped.transformer).embeddings.token_embedding.wrapped
    skipped = minimal is not None and clip_skip > minimal

    def encode(ids: Tensor) -> tuple[Tensor, Tensor | None]:
        output = wrapped.transformer(input_ids=ids, output_hidden_states=True)
        if wrapped.layer == "last" and not skipped:
            states = output.last_hidden_state
        else:
            states = output.hidden_states[-clip_skip if skipped else wrapped.layer_idx]
            states = _text_model(wrapped.transformer).final_layer_norm(states) if normed else states
        if key != "clip_g":
            return states, None
        return states, output.pooler_output.float() @ wrapped.text_projection.float()

    return TextEncoder(key or encoder_of_width(table.embedding_dim), table, embedder.id_pad, encode)


def _text_model(transformer: Any) -> Any:
    """transformers 4 keeps the layers one attribute deeper than transformers 5."""
    return getattr(transformer, "text_model", transformer)


_MAKERS: Mapping[str, Callable[[Any, int], TextEncoder]] = {
    "modules.sd_hijack_clip.FrozenCLIPEmbedderWithCustomWords": _clip,
    "modules.sd_hijack_open_clip.FrozenOpenCLIPEmbedderWithCustomWords": _open_clip,
    "modules.sd_hijack_clip.FrozenCLIPEmbedderForSDXLWithCustomWords": _clip_of_sdxl,
    "modules.sd_hijack_open_clip.FrozenOpenCLIPEmbedder2WithCustomWords": _open_clip_of_sdxl,
    "modules_forge.forge_clip.CLIP_SD_15_L": _clip,
    "modules_forge.forge_clip.CLIP_SD_21_H": partial(_clip_of_reforge, normed=True),
    "modules_forge.forge_clip.CLIP_SD_XL_L": partial(_clip_of_reforge, key="clip_l"),
    "modules_forge.forge_clip.CLIP_SD_XL_G": partial(_clip_of_reforge, key="clip_g"),
}
