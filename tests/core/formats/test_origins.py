"""A file of every program that makes embeddings, laid out as that program does: read with all its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from tests.messages import refused
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats import read_all, read_contents, read_embedding
from tinv_ext.core.formats.image_write import image_with_embedding, save_png_with_embedding

L, H, G = (torch.linspace(-1, 1, 2 * width).reshape(2, width) for width in (768, 1024, 1280))
SD1, SD2, SDXL = {"clip_l": L}, {"clip_h": H}, {"clip_l": L, "clip_g": G}
T5 = torch.ones(2, 4096)
Vectors = Mapping[str, Tensor]


def safe(name: str, tensors: Vectors, **metadata: str) -> Callable[[Path], Path]:
    """A file written by the safetensors library."""

    def write(folder: Path) -> Path:
        save_file({key: value.clone() for key, value in tensors.items()}, str(folder / name), metadata or None)
        return folder / name

    return write


def saved(name: str, values: Any, zipped: bool = True) -> Callable[[Path], Path]:
    """A file written by torch.save."""

    def write(folder: Path) -> Path:
        torch.save(values, folder / name, _use_new_zipfile_serialization=zipped)
        return folder / name

    return write


def webui(vectors: Tensor, **more: Any) -> dict[str, Any]:
    """v1.10.1 `Embedding.save`: after training the tensor still wants its gradient."""
    trained = vectors.clone().requires_grad_(True)
    return {"string_to_token": {"*": 265}, "string_to_param": {"*": trained}, "name": "word-5", "step": 4, **more}


def original(name: str, zipped: bool) -> Callable[[Path], Path]:
    """rinongal/textual_inversion: a ParameterDict, the token a tensor."""
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(L.clone())})
    return saved(name, {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": parameters}, zipped)


def pair_folder(suffix: str, one_dimension: bool = False) -> Callable[[Path], Path]:
    """diffusers' script for SDXL: two files, the placeholder their key."""

    def write(folder: Path) -> Path:
        for stem, vectors in (("learned_embeds", L), ("learned_embeds_2", G)):
            value = {"<word>": vectors[0].clone() if one_dimension else vectors}
            (safe if suffix == ".safetensors" else saved)(f"{stem}{suffix}", value)(folder)
        return folder

    return write


def half(given: str, suffix: str = ".safetensors", second: Tensor = G) -> Callable[[Path], Path]:
    """One of the two files of diffusers' script, the other beside it."""

    def write(folder: Path) -> Path:
        rest = given.removeprefix("learned_embeds").removeprefix("_2")
        for stem, vectors in (("learned_embeds", L), ("learned_embeds_2", second)):
            (safe if suffix == ".safetensors" else saved)(f"{stem}{rest}{suffix}", {"<word>": vectors})(folder)
        return folder / f"{given}{suffix}"

    return write


def half_of_two_kinds(folder: Path) -> Path:
    """Halves that were converted one by one."""
    saved("learned_embeds_2.bin", {"<word>": G})(folder)
    return safe("learned_embeds.safetensors", {"<word>": L})(folder)


def on_the_way(folder: Path) -> Path:
    """A run of the script that was stopped after step 1000."""
    for step in (500, 1000):
        half(f"learned_embeds-steps-{step}")(folder)
        if step == 500:
            safe("learned_embeds-steps-500.safetensors", {"<word>": L + 1})(folder)
    return folder


def in_pixels(name: str, vectors: Vectors, **how: Any) -> Callable[[Path], Path]:
    """A picture that has only the pixels' copy, as WebP and AVIF do."""

    def write(folder: Path) -> Path:
        image_with_embedding(Image.new("RGB", (64, 256), (90, 80, 70)), Embedding("word", vectors)).save(
            folder / name, **how
        )
        return folder / name

    return write


def in_text(folder: Path) -> Path:
    """A preview of the WebUI."""
    save_png_with_embedding(Image.new("RGB", (64, 64)), Embedding("word", SD1), folder / "word-500.png")
    return folder / "word-500.png"


def bundle(keys: Vectors) -> dict[str, Tensor]:
    """A LoRA with an embedding in it (v1.10.1 extensions-builtin/Lora/networks.py)."""
    return {"lora_unet_x.alpha": torch.ones(1), **{f"bundle_emb.word.{key}": value for key, value in keys.items()}}


KOHYA = {"modelspec.architecture": "stable-diffusion-v1/textual-inversion", "modelspec.title": "word"}
ORIGINS: dict[str, tuple[Callable[[Path], Path], Vectors, str]] = {
    "A1111, zip": (saved("word.pt", webui(L)), SD1, "word"),
    "A1111, legacy": (saved("word.pt", webui(L), zipped=False), SD1, "word"),
    "A1111, SD2": (saved("word.pt", webui(H, sd_checkpoint="0123456789")), SD2, "word"),
    "DreamArtist, negative": (saved("word-neg.pt", webui(L)), SD1, "word-neg"),
    "original, zip": (original("embeddings_gs-500.pt", True), SD1, "embeddings_gs-500"),
    "original, legacy": (original("embeddings.pt", False), SD1, "embeddings"),
    "kohya .safetensors": (safe("word-step00000500.safetensors", {"emb_params": L}, **KOHYA), SD1, "word-step00000500"),
    "kohya .pt": (saved("word.pt", {"emb_params": L}), SD1, "word"),
    "kohya .ckpt, SD2": (saved("word.ckpt", {"emb_params": H}), SD2, "word"),
    "kohya SDXL .safetensors": (safe("word.safetensors", SDXL), SDXL, "word"),
    "kohya SDXL .pt": (saved("word.pt", dict(SDXL)), SDXL, "word"),
    "diffusers .bin": (saved("learned_embeds.bin", {"<word>": L}), SD1, "word"),
    "diffusers .bin, one dimension": (saved("learned_embeds.bin", {"<word>": L[0].clone()}), {"clip_l": L[:1]}, "word"),
    "diffusers .safetensors": (safe("learned_embeds-steps-500.safetensors", {"word": L}, format="pt"), SD1, "word"),
    "diffusers SD2": (safe("learned_embeds.safetensors", {"word": H}), SD2, "word"),
    "diffusers SDXL pair": (pair_folder(".safetensors"), SDXL, "word"),
    "diffusers SDXL pair .bin": (pair_folder(".bin"), SDXL, "word"),
    "diffusers SDXL pair, one dimension": (pair_folder(".bin", True), {"clip_l": L[:1], "clip_g": G[:1]}, "word"),
    "diffusers SDXL pair, one file given": (half("learned_embeds"), SDXL, "word"),
    "diffusers SDXL pair, the other file given": (half("learned_embeds_2"), SDXL, "word"),
    "diffusers SDXL on the way": (half("learned_embeds-steps-500"), SDXL, "word"),
    "diffusers SDXL on the way, the other": (half("learned_embeds_2-steps-500", ".bin"), SDXL, "word"),
    "diffusers SDXL, a folder of files on the way": (on_the_way, SDXL, "word"),
    "diffusers SDXL on the way, by number alone": (half("learned_embeds_2_500", ".bin"), SDXL, "word"),
    "diffusers SDXL, two kinds of file": (half_of_two_kinds, SDXL, "word"),
    "diffusers SD1 beside a second word": (half("learned_embeds", second=L), SD1, "word"),
    "Replicate": (safe("embeddings.pti", {"text_encoders_0": L, "text_encoders_1": G}), SDXL, "embeddings"),
    "Replicate, half precision": (
        safe("embeddings.pti", {"text_encoders_0": L.half(), "text_encoders_1": G.half()}),
        {"clip_l": L.half().float(), "clip_g": G.half().float()},
        "embeddings",
    ),
    "early pivotal tuning .safetensors": (
        safe("embeddings.safetensors", {"text_encoders_1": G, "text_encoders_0": L}),
        SDXL,
        "embeddings",
    ),
    "Replicate, SD1": (saved("embeddings.pti", {"text_encoders_0": L}), SD1, "embeddings"),
    "by the parts of a pipeline": (safe("word.safetensors", {"text_encoder": L, "text_encoder_2": G}), SDXL, "word"),
    "by parts counted from one": (safe("word.safetensors", {"text_encoder_1": L, "text_encoder_2": G}), SDXL, "word"),
    "by an encoder and its twin": (saved("word.pt", {"clip_bigG": G, "clip_l": L}), SDXL, "word"),
    "SDXL inside string_to_param": (saved("word.pt", {"string_to_param": dict(SDXL), "name": "x"}), SDXL, "word"),
    "SDXL by keys of its maker": (safe("word.safetensors", {"a": G, "b": L}), SDXL, "word"),
    "HCP-Diffusion SDXL": (saved("word.pt", webui(torch.cat([L, G], 1))), SDXL, "word"),
    "AI Runner": (safe("word.safetensors", {"string_to_param/<word>": L[0].clone()}), {"clip_l": L[:1]}, "word"),
    "AI Runner SDXL": (
        safe("word.safetensors", {"string_to_param/<w>": L, "string_to_param_2/<w>": G}),
        SDXL,
        "word",
    ),
    "AI Runner SDXL .pt": (
        saved("word.pt", {"string_to_param": {"<w>": L}, "string_to_param_2": {"<w>": G}}),
        SDXL,
        "word",
    ),
    "a word called llama": (safe("learned_embeds.safetensors", {"llama": L}), SD1, "llama"),
    "diffusers pivotal tuning": (safe("word_emb.safetensors", SDXL), SDXL, "word_emb"),
    "OneTrainer": (safe("word.safetensors", {"emp_params": L}), SD1, "word"),
    "OneTrainer with output": (safe("word.safetensors", {"emp_params": L, "emp_params_out": L}), SD1, "word"),
    "OneTrainer SDXL with output": (safe("word.safetensors", {**SDXL, "clip_l_out": L, "clip_g_out": G}), SDXL, "word"),
    "InvokeAI": (safe("checkpoint_500.safetensors", {"emb_params": L}), SD1, "checkpoint_500"),
    "InvokeAI SDXL": (safe("word.safetensors", SDXL), SDXL, "word"),
    "bundle of A1111": (safe("lora.safetensors", bundle({"string_to_param.*": L})), SD1, "word"),
    "bundle of kohya": (safe("lora.safetensors", bundle({"emb_params": L})), SD1, "word"),
    "bundle SDXL": (safe("lora.safetensors", bundle(SDXL)), SDXL, "word"),
    "bundle .pt": (saved("lora.pt", bundle({"string_to_param.*": L})), SD1, "word"),
    "half precision": (safe("word.safetensors", {"emb_params": L.half()}), {"clip_l": L.half().float()}, "word"),
    "bfloat16": (saved("word.pt", webui(L.bfloat16())), {"clip_l": L.bfloat16().float()}, "word"),
    "PNG": (in_text, SD1, "word"),
    "PNG, pixels": (in_pixels("word-500.png", SD2), SD2, "word"),
    "WebP, pixels": (in_pixels("word-500.webp", SD1, lossless=True), SD1, "word"),
    "WebP SDXL, pixels": (in_pixels("word.webp", SDXL, lossless=True), SDXL, "word"),
}


@pytest.mark.parametrize("origin", list(ORIGINS))
def test_what_a_program_writes_is_read(origin: str, tmp_path: Path) -> None:
    """Encoders, every number, and the word by which the program's own prompts would call it."""
    write, vectors, name = ORIGINS[origin]
    path = write(tmp_path)
    embedding = read_embedding(path)
    assert (embedding.name, list(embedding.vectors)) == (name, list(vectors))
    assert all(torch.equal(embedding.vectors[key], vectors[key]) for key in vectors)
    assert list(read_all(path)) == [name]


def test_vectors_of_the_output_are_told(tmp_path: Path) -> None:
    """OneTrainer's further tensors."""
    path = ORIGINS["OneTrainer SDXL with output"][0](tmp_path)
    assert sorted(read_contents(path).embeddings[0].left_out) == ["clip_g_out", "clip_l_out"]


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "XTI": (safe("x.safetensors", {"IN01": L, "MID": L}), "is_xti"),
    "SD3": (safe("x.safetensors", {**SDXL, "t5xxl": torch.ones(2, 4096)}), "is_sd3"),
    "SD3 by OneTrainer": (safe("x.safetensors", {**SDXL, "t5": T5, "t5_out": T5}), "is_sd3"),
    "Flux by OneTrainer and diffusers": (safe("x.safetensors", {"clip_l": L, "t5": T5}), "is_sd3"),
    "Flux, the second half alone": (safe("x.safetensors", {"t5": T5}), "is_sd3"),
    "Flux by ComfyUI": (safe("x.safetensors", {"t5xxl": T5}), "is_sd3"),
    "HiDream by OneTrainer": (safe("x.safetensors", {**SDXL, "t5": T5, "llama": T5}), "is_sd3"),
    "Hunyuan by OneTrainer": (safe("x.safetensors", {"clip_l": L, "llama": T5}), "is_sd3"),
    "OneTrainer's output alone": (safe("x.safetensors", {"emp_params_out": L}), "is_output_embedding"),
    "OneTrainer's output alone, SDXL": (
        safe("x.safetensors", {"clip_l_out": L, "clip_g_out": G}),
        "is_output_embedding",
    ),
    "an encoder of tomorrow": (safe("x.safetensors", {"clip_l": L, "next": T5}), "is_sd3"),
    "vectors that fit nothing": (safe("x.safetensors", {"<word>": T5}), "fits_no_encoder"),
    "vectors that fit nothing, in the WebUI's": (saved("x.pt", webui(T5)), "fits_no_encoder"),
    "encoders turned round": (safe("x.safetensors", {"clip_l": G, "clip_g": L}), "wrong_width"),
    "open_clip's text encoder": (
        safe("x.safetensors", {"token_embedding.weight": L, "positional_embedding": L + 1, "ln_final.bias": L[0]}),
        "is_weights",
    ),
    "LoRA of PEFT": (safe("x.safetensors", {"base.q.lora_A.weight": L, "base.q.lora_B.weight": L + 1}), "is_weights"),
    "a table of tokens": (safe("x.safetensors", {"tokens": torch.ones(5000, 768)}), "is_weights"),
    "LoRA": (safe("x.safetensors", {"lora_unet_x.alpha": torch.ones(1)}), "is_lora"),
    "optimizer of the WebUI": (
        saved("x.pt.optim", {"hash": "0", "optimizer_state_dict": {"state": {}}}),
        "is_optimizer",
    ),
    "prompts encoded beforehand": (
        safe("x.safetensors", {"prompt_embeds": L, "pooled_prompt_embeds": G}),
        "is_encoder_output",
    ),
    "kohya's cache of them": (saved("x.pt", {"hidden_state1": L, "hidden_state2": G, "pool2": G}), "is_encoder_output"),
    "an image's embedding": (saved("x.pt", {"image_embeds": L}), "is_encoder_output"),
    "two placeholders": (saved("x.pt", {"string_to_param": {"*": L, "@": L}}), "several"),
}


@pytest.mark.parametrize("kind", list(REFUSED))
def test_what_is_no_embedding_for_us_is_told(kind: str, tmp_path: Path) -> None:
    """A sentence that says what it is."""
    write, id = REFUSED[kind]  # noqa: A001
    with refused(f"formats.{id}", FormatError):
        read_embedding(write(tmp_path))


def test_numpys_file_is_told(tmp_path: Path) -> None:
    """diffusers' script for JAX left learned_embeds.npy."""
    (tmp_path / "learned_embeds.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}")
    with refused("formats.is_numpy", FormatError):
        read_embedding(tmp_path / "learned_embeds.npy")
