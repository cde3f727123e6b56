"""The shipped toy model: a StableDiffusionPipeline from one fp16 file of weights.

The file has the parts under "unet.", "vae." and "text.", and of the token table only the rows that captions use; every
other word gets the row of the unknown word. The environment variable TINV_TOY_WEIGHTS may name another file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from torch import Tensor, nn

from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.messages import message
from tinv_ext.toy import parts, words

FILE = Path(__file__).with_name("weights") / "toy.safetensors"
TABLE = "embeddings.token_embedding.weight"


def weights_file() -> Path:
    """The file in use. Raises InputError where there is none."""
    named = os.environ.get("TINV_TOY_WEIGHTS")
    path = Path(named) if named else FILE
    if not path.is_file():
        raise InputError(
            message(
                "toy.weights_missing",
                'The toy model\'s weights "{path}" are missing. Unset TINV_TOY_WEIGHTS or run tools/toy/train.py.',
                path=path,
            )
        )
    return path


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors in fp32, metadata) of a weights file. Raises FormatError."""
    try:
        with safe_open(str(path), "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a safe_open is no dict
            return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, file.metadata() or {}
    except Exception as error:  # safetensors raises its own class, which has no public name in 0.4
        raise FormatError(
            message(
                "toy.weights_unreadable",
                'The toy model\'s weights "{path}" cannot be read ({reason}). Download the file again.',
                path=path,
                reason=error,
            )
        ) from error


def metadata() -> dict[str, str]:
    """How the weights were made: commit, machine, minutes, seed."""
    return read(weights_file())[1]


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def whole_table(rows: Tensor, ids: Tensor) -> Tensor:
    """(49408, 64): the trained rows at their ids, the last of them (the unknown thing's) everywhere else."""
    table = rows[-1].repeat(parts.TEXT["vocab_size"], 1)
    table[ids] = rows
    return table


def fill(module: nn.Module, values: dict[str, Tensor], name: str) -> None:
    """Load all weights, by the names that the installed transformers or diffusers uses. Raises FormatError."""
    expected = module.state_dict()
    if any(key.startswith("text_model.") for key in expected):  # transformers before 5, and with a projection any
        values = {key if key in expected else f"text_model.{key}": value for key, value in values.items()}
    lost = module.load_state_dict(values, strict=False)
    missing = [key for key in lost.missing_keys if not key.endswith("position_ids")]  # a buffer of transformers 4.30
    if missing or lost.unexpected_keys:
        raise FormatError(
            message(
                "toy.weights_unfit",
                "The weights are not those of the toy model's {part} (missing: {missing:, }; unknown: {unknown:, }). "
                "Use the file of this version.",
                part=name,
                missing=missing[:3],
                unknown=lost.unexpected_keys[:3],
            )
        )


def pipeline(file: Path | None = None) -> StableDiffusionPipeline:
    """The toy as a StableDiffusionPipeline in fp32 on the CPU, ready to sample; 64×64 pixels. Its weights are those of
    `weights_file`, or of another file that has all of its parts.
    """
    tensors, _ = read(file or weights_file())
    text = part(tensors, "text.")
    text[TABLE] = whole_table(text.pop("rows"), text.pop("row_ids").long())
    encoder, vae, unet = parts.text_encoder(), parts.vae(), parts.unet()
    fill(encoder, text, "text encoder")
    fill(vae, part(tensors, "vae."), "autoencoder")
    fill(unet, part(tensors, "unet."), "UNet")
    for module in (encoder, vae, unet):
        module.eval().requires_grad_(False)
    given: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=encoder, tokenizer=words.new_tokenizer(), unet=unet, scheduler=parts.scheduler(), **given
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sample(
    pipe: StableDiffusionPipeline, prompts: list[str], seed: int, steps: int = 25, guidance: float = 3.0
) -> Tensor:
    """Images (n, 3, 64, 64) in 0…1, the noise of each from seed, seed + 1, …"""
    noise = torch.stack(
        [torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(seed + i)) for i in range(len(prompts))]
    )
    made = pipe(
        prompts,
        latents=noise,
        num_inference_steps=steps,
        guidance_scale=guidance,
        output_type="pt",
        height=64,
        width=64,
    )
    images: Tensor = made.images
    return images
