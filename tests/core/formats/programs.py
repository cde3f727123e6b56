"""How each program loads an embedding: diffusers by its own code on real pipelines, the others by their rules.

A loader takes the file and the widths of the model that is loaded, {"clip_l": 768}, and gives the vectors that its
prompts would use; any error means that it refuses the file. `By hand` loaders need more than the file: diffusers the
word as an argument, or a file of two encoders taken apart.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.hosts.diffusers import small_pipelines
from tinv_ext.core.formats import read_embedding

WORD = "zworble"
VOCABULARY = 49408
"""CLIP's tokens. The pipelines have two rows more, so that loading two vectors does not have to grow the table: that
takes transformers seconds."""

Vectors = dict[str, Tensor]
Widths = Mapping[str, int]
Loader = Callable[[Path, Widths], Vectors]


class Refused(Exception):
    """The program does not take the file."""


def _take(condition: bool, why: str = "") -> None:
    if not condition:
        raise Refused(why)


def loaded(path: Path) -> dict[str, Any]:
    """The values of a file as other programs load them, by suffix."""
    _take(path.is_file() and path.suffix in (".pt", ".bin", ".safetensors"))
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    return dict(torch.load(path, weights_only=True))


def in_picture(path: Path) -> dict[str, Any]:
    """The values in a picture's text, tensors as the WebUI decodes them."""
    with Image.open(path) as image:
        coded = base64.b64decode(image.text["sd-ti-embedding"])
    return dict(json.loads(coded, object_hook=lambda item: _tensor(item) if "TORCHTENSOR" in item else item))


def _tensor(item: dict[str, Any]) -> Tensor:
    return torch.tensor(item["TORCHTENSOR"], dtype=torch.float32)


def _fit(vectors: Tensor, width: int) -> Tensor:
    vectors = vectors.detach().float()
    vectors = vectors.unsqueeze(0) if vectors.dim() == 1 else vectors
    _take(vectors.shape[-1] == width, "another model's")
    return vectors


def webui(path: Path, widths: Widths) -> Vectors:
    """A1111 v1.10.1 `load_from_file` and `create_embedding_from_data`; Forge and reForge have them from there.

    The word is the file's stem, in a picture the value's own name; a width other than the model's is skipped.
    """
    values = in_picture(path) if path.suffix in (".png", ".webp") else loaded(path)
    name = values.get("name", path.stem) if path.suffix in (".png", ".webp") else path.stem
    _take(name == WORD)
    if "string_to_param" in values:
        _take(len(values["string_to_param"]) == 1, "multiple terms")
        found = {next(iter(widths)): next(iter(values["string_to_param"].values()))}
    elif "clip_g" in values and "clip_l" in values:
        found = {key: value.detach() for key, value in values.items()}
    else:
        _take(len(values) == 1, "multiple terms")
        found = {next(iter(widths)): next(iter(values.values()))}
    _take(sum(value.shape[-1] for value in found.values()) == sum(widths.values()), "another model's: skipped")
    _take(all(value.dim() == 2 for value in found.values()))
    return {key: value.float() for key, value in found.items()}


@cache
def _pipeline(widths: tuple[tuple[str, int], ...]) -> Any:
    """A real pipeline of diffusers whose text encoders have the true widths."""
    pipeline = small_pipelines.sdxl() if len(widths) > 1 else small_pipelines.sd1()
    with torch.device("meta"):
        encoders = {"text_encoder": CLIPTextModel(_text_config(widths[0][1]))}
        if len(widths) > 1:
            encoders["text_encoder_2"] = CLIPTextModelWithProjection(_text_config(widths[1][1]))
    # Nothing is computed with them: the only rows that are read are those that diffusers writes.
    pipeline.register_modules(**{name: encoder.to_empty(device="cpu") for name, encoder in encoders.items()})
    return pipeline


def _text_config(width: int) -> CLIPTextConfig:
    sizes = {"hidden_size": width, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    ids = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    return CLIPTextConfig(vocab_size=VOCABULARY + 2, projection_dim=32, **sizes, **ids)


def diffusers(path: Path, widths: Widths, word: str = WORD) -> Vectors:
    """`load_textual_inversion` of a real pipeline with the file as it is; a folder of SDXL file by file."""
    if len(widths) == 1:
        return _loaded_by_diffusers(dict.fromkeys(widths, str(path)), widths, None, word)
    files = sorted(path.glob("learned_embeds*"))  # learned_embeds_2 is the second
    return _loaded_by_diffusers({key: str(file) for key, file in zip(widths, files)}, widths, None, word)


def diffusers_by_hand(path: Path, widths: Widths) -> Vectors:
    """The same, the word given as `token`, a file of two encoders taken apart by whoever calls."""
    if len(widths) == 1:
        return _loaded_by_diffusers(dict.fromkeys(widths, str(path)), widths, WORD)
    values = loaded(path)
    return _loaded_by_diffusers({key: values[key] for key in widths}, widths, WORD)


def _loaded_by_diffusers(what: Mapping[str, Any], widths: Widths, token: str | None, word: str = WORD) -> Vectors:
    """The rows of the token tables that the word's tokens lead to in a prompt."""
    pipeline = _pipeline(tuple(widths.items()))
    found = {}
    for number, key in enumerate(widths):
        end = f"_{number + 1}" if number else ""
        encoder, tokenizer = getattr(pipeline, f"text_encoder{end}"), small_pipelines.tokenizer()
        pipeline.register_modules(**{f"tokenizer{end}": tokenizer})
        given = {"text_encoder": encoder, "tokenizer": tokenizer} if len(widths) > 1 else {}
        pipeline.load_textual_inversion(what[key], token=token, **given)
        prompt = pipeline.maybe_convert_prompt(word, tokenizer)
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        _take(min(ids) >= VOCABULARY, "the word has no tokens of its own")
        found[key] = encoder.get_input_embeddings().weight.detach()[ids].clone()
    return found


def comfy(path: Path, widths: Widths) -> Vectors:
    """ComfyUI comfy/sd1_clip.py `load_embed`, once for each encoder of the model, with its key and width."""
    values = loaded(path)
    found = {}
    for key, width in widths.items():
        if "string_to_param" in values:
            value = next(iter(values["string_to_param"].values()))
        else:
            value = values[key] if key in values else next(iter(values.values()))
        found[key] = _fit(value, width)
    return found


def invoke(path: Path, widths: Widths) -> Vectors:
    """InvokeAI: its model manager tells the base model by one width on import, then the file is read."""
    values = loaded(path)
    if "string_to_token" in values:
        found = {next(iter(widths)): next(iter(values["string_to_param"].values()))}
    elif "emb_params" in values:
        found = {next(iter(widths)): values["emb_params"]}
    elif "clip_g" in values:
        found = {key: values[key] for key in ("clip_l", "clip_g")}
    else:
        first = next(iter(values.values()))
        _take(first.shape[0] in (768, 1024, 1280), "unrecognized token dimension")
        found = {next(iter(widths)): first}
    base = {768: "sd-1", 1024: "sd-2", 1280: "sdxl"}
    model = "sdxl" if len(widths) > 1 else base[next(iter(widths.values()))]
    _take(base[found.get("clip_g", next(iter(found.values()))).shape[-1]] == model)
    return found


def kohya(path: Path, widths: Widths) -> Vectors:
    """sd-scripts' `--weights`: train_textual_inversion.py, and the one for SDXL."""
    values = loaded(path)
    if len(widths) > 1:
        return {"clip_l": values["clip_l"], "clip_g": values["clip_g"]}
    holder = values.get("string_to_param", values)
    (key, width), *_ = widths.items()
    return {key: _fit(next(iter(holder.values())), width)}


def onetrainer(path: Path, widths: Widths) -> Vectors:
    """OneTrainer reads its own keys only."""
    values = loaded(path)
    return {key: values[key] for key in widths} if len(widths) > 1 else {next(iter(widths)): values["emp_params"]}


def ours(path: Path, widths: Widths) -> Vectors:
    """This project."""
    embedding = read_embedding(path)
    _take(embedding.name == WORD)
    return dict(embedding.vectors)


LOADERS: dict[str, Loader] = {
    "this": ours,
    "A1111, Forge, reForge": webui,
    "diffusers": diffusers,
    "ComfyUI": comfy,
    "InvokeAI": invoke,
    "kohya": kohya,
    "OneTrainer": onetrainer,
}
BY_HAND: dict[str, Loader] = {"diffusers": diffusers_by_hand}
REFUSALS = (Refused, ValueError, KeyError, OSError, AttributeError, StopIteration, RuntimeError, TypeError)
