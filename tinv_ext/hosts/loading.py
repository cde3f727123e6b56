"""Opening a model from the disk, without a network: a diffusers folder or a single file of Stable Diffusion 1."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import transformers
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor

from tinv_ext.core.errors import InputError
from tinv_ext.hosts.sd1.checkpoint import SUFFIXES, read_tensors
from tinv_ext.hosts.sd1.family import unsupported
from tinv_ext.hosts.sd1.parts import assembled, filled, pipeline_of, text_encoder_of, text_tensors
from tinv_ext.hosts.sd1.sizes import read_json, sizes_for, tokenizer_of

_BLOCK = 1 << 20
_PARTS = ("unet", "vae", "text_encoder", "scheduler")
_TEXT_FILES = ("model.safetensors", "model.fp16.safetensors", "pytorch_model.bin", "pytorch_model.fp16.bin")
_FAMILIES = {
    "StableDiffusionXLPipeline": "SDXL",
    "StableDiffusion3Pipeline": "Stable Diffusion 3",
    "StableDiffusionInpaintPipeline": "Stable Diffusion for inpainting",
    "FluxPipeline": "Flux",
}


def open_pipeline(source: str | Path, config: str | Path | None = None) -> StableDiffusionPipeline:
    """Return the pipeline of a diffusers folder or of a .safetensors or .ckpt checkpoint, in float32 on the CPU.

    `config` gives the sizes of a single file that has others than SD1.5: a folder of config files, or a yaml; else the
    yaml of the same name beside the file counts, as in the WebUI. Raises InputError: a sentence for what is wrong.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(f'There is no model "{path}". Give a diffusers folder or a .safetensors or .ckpt file.')
    with _quiet():
        if path.is_dir():
            return _open_folder(path)
        return _open_file(path, Path(config).expanduser() if config else None)


def short_hash(path: Path) -> str | None:
    """Return the first ten hex digits of a checkpoint's SHA-256, the WebUI's model hash; None for a folder."""
    if not path.is_file():
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()[:10]


def _open_file(path: Path, config: Path | None) -> StableDiffusionPipeline:
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f'The model "{path}" is no checkpoint: its name should end in {" or ".join(SUFFIXES[:2])}.')
    tensors = read_tensors(path)
    problem = unsupported(tensors)
    if problem:
        raise InputError(f'The model "{path}" {problem}')
    return pipeline_of(tensors, sizes_for(path, config), f'"{path}"')


def _open_folder(folder: Path) -> StableDiffusionPipeline:
    problems = _folder_problems(folder)
    if problems:
        raise InputError(problems)
    return assembled(
        unet=_read_part(UNet2DConditionModel, folder, "unet"),
        vae=_read_part(AutoencoderKL, folder, "vae"),
        text_encoder=_read_text_encoder(folder / "text_encoder"),
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
        tokenizer=tokenizer_of(folder / "tokenizer"),
    )


def _folder_problems(folder: Path) -> list[str]:
    """What keeps the folder from being an SD1 pipeline, judged by its small files alone."""
    if not (folder / "model_index.json").is_file():
        return [
            f'The folder "{folder}" has no model_index.json, so it is no diffusers model. Give the folder that has.'
        ]
    kind = str(read_json(folder / "model_index.json").get("_class_name"))
    if kind != "StableDiffusionPipeline":
        return [_only_sd1(folder, _FAMILIES.get(kind, kind))]
    absent = [name for name in _PARTS if not (folder / name).is_dir()]
    if absent:
        return [f'The model "{folder}" has no folder {name}. Bring the model anew.' for name in absent]
    unet = read_json(folder / "unet" / "config.json")
    if unet.get("in_channels", 4) != 4:
        return [
            _only_sd1(folder, f"a Stable Diffusion with {unet['in_channels']} input channels (inpainting or depth)")
        ]
    if unet.get("cross_attention_dim") == 1024:
        return [_only_sd1(folder, "Stable Diffusion 2")]
    return []


def _only_sd1(folder: Path, family: str) -> str:
    return f'The model "{folder}" is {family}; only SD1 is supported so far. Give a model of Stable Diffusion 1.'


def _read_part(kind: Any, folder: Path, name: str) -> Any:
    """A part by diffusers' own loader, which also knows the older names of weights; none may be missing."""
    halves = not _has_full(folder / name)
    try:
        part, found = kind.from_pretrained(
            str(folder),
            subfolder=name,
            local_files_only=True,
            output_loading_info=True,
            variant="fp16" if halves else None,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(
            f'The {name} of the model "{folder}" cannot be read ({error}). Bring the model anew.'
        ) from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise InputError(
            f'The {name} of the model "{folder}" lacks {len(missing)} weights, such as {missing[0]}. '
            "Bring the model anew."
        )
    return part.float()


def _has_full(folder: Path) -> bool:
    return any(".fp16" not in file.name for file in folder.glob("diffusion_pytorch_model*"))


def _read_text_encoder(folder: Path) -> Any:
    """The text encoder, whichever transformers saved it."""
    file = next((folder / name for name in _TEXT_FILES if (folder / name).is_file()), None)
    if file is None:
        raise InputError(f'The folder "{folder}" has no weights, such as {_TEXT_FILES[0]}. Bring the model anew.')
    tensors: Mapping[str, Tensor] = read_tensors(file)
    return filled(
        text_encoder_of(read_json(folder / "config.json")), text_tensors(tensors), f'the text encoder "{file}"'
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Both libraries speak of things that are no concern of the user's; what is, is an error here."""
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    before = [library.get_verbosity() for library in libraries]
    try:
        for library in libraries:
            library.set_verbosity_error()
        yield
    finally:
        for library, level in zip(libraries, before):
            library.set_verbosity(level)
