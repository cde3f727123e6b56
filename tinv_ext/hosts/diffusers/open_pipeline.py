"""Opening a model as a pipeline: a diffusers folder, a single file, or a name on the hub."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, DiffusionPipeline
from torch import Tensor

from tinv_ext.core import families
from tinv_ext.core.errors import InputError
from tinv_ext.core.families import FAMILIES, Family
from tinv_ext.core.formats.tensors import StoredTensor
from tinv_ext.core.messages import Message, message
from tinv_ext.hosts.diffusers.checkpoint.build import assemble, build_pipeline, empty_vae
from tinv_ext.hosts.diffusers.checkpoint.configs import read_json, tokenizer_folder
from tinv_ext.hosts.diffusers.checkpoint.family import (
    VAE,
    cannot_be_trained,
    family_of,
    takes_inputs,
    why_unsupported,
)
from tinv_ext.hosts.diffusers.checkpoint.folder_parts import (
    THE_MODEL,
    files_of_part,
    read_text_encoder,
    read_unet,
    read_vae,
)
from tinv_ext.hosts.diffusers.checkpoint.original_config import configs_for
from tinv_ext.hosts.diffusers.checkpoint.read_tensors import SUFFIXES, stored_tensors
from tinv_ext.hosts.diffusers.checkpoint.weights import load_weights, read_weights, vae_tensors

_BLOCK = 1 << 20
_INDEX = "model_index.json"
_VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# By the class in model_index.json; families that share one have the same parts.
_FAMILIES: Mapping[str, Family] = {name: family for family in FAMILIES.values() for name in family.pipelines}
_UNSUPPORTED = {
    "StableDiffusionXLImg2ImgPipeline": families.REFINER,
    "StableDiffusionXLInpaintPipeline": families.SDXL_INPAINTING,
    "StableDiffusion3Pipeline": families.SD3,
    "StableDiffusionDepth2ImgPipeline": families.DEPTH,
    "StableDiffusionInstructPix2PixPipeline": families.INSTRUCT_PIX2PIX,
    "FluxPipeline": families.FLUX,
}


def open_pipeline(
    source: str | Path,
    config: str | Path | None = None,
    vae: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
) -> DiffusionPipeline:
    """Return the pipeline of a diffusers folder or of a .safetensors or .ckpt checkpoint, on the CPU.

    UNet and text encoders are in `dtype`, and never in another: each weight is converted as it is read. The VAE is in
    float32, as `placing.place` has it.

    `source` may also be a name on the Hugging Face hub ("owner/name"); its files are then downloaded, or taken from its
    cache where there is no network. `config` has the configs of a single file whose sizes are not those of its family's
    first model: a folder of config files, or a yaml; else the yaml of the same name beside the file counts, as in the
    WebUI.
    `vae` is the file of another VAE. Raises InputError: a sentence for what is wrong.
    """
    with _quiet():
        path = _found(source)
        if path.is_dir():
            pipeline = _open_folder(path, dtype)
        else:
            pipeline = _open_file(path, Path(config).expanduser() if config else None, dtype)
        if vae is not None:
            pipeline.register_modules(vae=_other_vae(Path(vae).expanduser(), pipeline.vae))
        return pipeline


def weight_files(source: str | Path) -> list[Path]:
    """The files with the weights of UNet and text encoders. Raises InputError where there is no such model."""
    path = _found(source)
    if not path.is_dir():
        return [path]
    folders = sorted(folder for folder in path.iterdir() if folder.name == "unet" or "text_encoder" in folder.name)
    return [file for folder in folders for file in files_of_part(folder)]


def _found(source: str | Path) -> Path:
    """The model's file or folder on this machine."""
    path = Path(source).expanduser()
    if not path.exists():
        path = _from_hub(str(source))
    if path.is_dir() and not (path / _INDEX).is_file() and (path / "diffusers" / _INDEX).is_file():
        return path / "diffusers"  # as `toy export` writes it, beside the WebUI's files
    return path


def _from_hub(name: str) -> Path:
    """The folder of a model on the hub, as diffusers keeps it."""
    if not _HUB_NAME.fullmatch(name) or name.lower().endswith(SUFFIXES):
        raise InputError(
            message(
                "checkpoint.no_model_there",
                'There is no model "{name}". Give a diffusers folder, a .safetensors or .ckpt file, or owner/name of a '
                "model on the Hugging Face hub.",
                name=name,
            )
        )
    try:
        return Path(DiffusionPipeline.download(name, safety_checker=None, feature_extractor=None, image_encoder=None))
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            message(
                "checkpoint.no_download",
                'There is no file or folder "{name}", and it could not be downloaded from the hub ({error}). Check the '
                "name and the network, or give a folder or a file.",
                name=name,
                error=_first_line(error),
            )
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def short_hash(path: Path) -> str | None:
    """Return the first ten hex digits of a checkpoint's SHA-256, the WebUI's model hash; None for a folder."""
    if not path.is_file():
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()[:10]


def _open_file(path: Path, config: Path | None, dtype: torch.dtype) -> DiffusionPipeline:
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            message(
                "checkpoint.wrong_suffix",
                'The file "{path}" is not a checkpoint: its name should end in {suffixes: or }.',
                path=path,
                suffixes=list(SUFFIXES[:2]),
            )
        )
    stored = stored_tensors(path)
    problem, family = why_unsupported(stored, str(path)), family_of(stored)
    if problem:
        raise InputError(problem)
    assert family is not None
    return build_pipeline(stored, configs_for(path, family, config), family, str(path), dtype)


def _other_vae(path: Path, current: AutoencoderKL) -> AutoencoderKL:
    """A VAE of the same size out of a file: alone, by diffusers' names, or in a checkpoint."""
    if not path.is_file():
        raise InputError(
            message("checkpoint.no_vae", 'There is no VAE "{path}". Give a .safetensors, .pt or .ckpt file.', path=path)
        )
    stored = stored_tensors(path)
    values: Mapping[str, Tensor | StoredTensor]
    if any(name.startswith("encoder.down_blocks.") for name in stored):
        values = {name: one for name, one in stored.items() if name.startswith(_VAE_PARTS)}
    else:
        bare = {VAE + name.removeprefix(VAE): one for name, one in stored.items()}
        mine = {name: one for name, one in bare.items() if name.startswith(tuple(VAE + part for part in _VAE_PARTS))}
        values = vae_tensors(read_weights(mine, VAE, torch.float32), current.config)
    part = message("checkpoint.vae_file", 'The VAE "{path}"', path=path)
    return load_weights(empty_vae(current.config), values, part, THE_MODEL).eval()


def _open_folder(folder: Path, dtype: torch.dtype) -> DiffusionPipeline:
    problems = _folder_problems(folder)
    if problems:
        raise InputError(problems)
    encoders = _text_encoders(_FAMILIES[_pipeline_class(folder)])
    return assemble(
        unet=read_unet(folder / "unet", dtype),
        vae=read_vae(folder / "vae"),
        text_encoders=[read_text_encoder(folder / encoder, dtype) for encoder in encoders],
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
        tokenizer=tokenizer_folder(folder / "tokenizer"),
    )


def _text_encoders(family: Family) -> tuple[str, ...]:
    """The folders of the text encoders."""
    return ("text_encoder", "text_encoder_2")[: len(family.encoders)]


def _pipeline_class(folder: Path) -> str:
    return str(read_json(folder / _INDEX).get("_class_name"))


def _folder_problems(folder: Path) -> list[Message]:
    """What keeps the folder from being a pipeline that can be trained, judged by its small files alone."""
    if not (folder / _INDEX).is_file():
        return [
            message(
                "checkpoint.no_index",
                'The folder "{folder}" has no model_index.json, so it is not a diffusers model. Give the folder that '
                "has it.",
                folder=folder,
            )
        ]
    name = _pipeline_class(folder)
    family = _FAMILIES.get(name)
    if family is None:
        other = message("checkpoint.other_pipeline", "a {pipeline}", pipeline=name)
        return [cannot_be_trained(str(folder), _UNSUPPORTED.get(name, other))]
    parts = ("unet", "vae", *_text_encoders(family), "scheduler")
    missing = [part for part in parts if not (folder / part).is_dir()]
    if missing == ["text_encoder"] and len(family.encoders) > 1:  # the refiner has the second only
        return [cannot_be_trained(str(folder), families.REFINER)]
    if missing:
        return [
            message(
                "checkpoint.no_part",
                'The model "{folder}" has no folder {part}. Download the model again.',
                folder=folder,
                part=part,
            )
            for part in missing
        ]
    channels = read_json(folder / "unet" / "config.json").get("in_channels", family.latent_channels)
    if not takes_inputs(family, channels):
        other = message("checkpoint.other_inputs", "a model whose UNet has {count} input channels", count=channels)
        return [cannot_be_trained(str(folder), other)]
    return []


@contextmanager
def _quiet() -> Iterator[None]:
    """Both libraries warn of things that are no concern of the user's; what is, is an error here."""
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    before = [library.get_verbosity() for library in libraries]
    try:
        for library in libraries:
            library.set_verbosity_error()
        yield
    finally:
        for library, level in zip(libraries, before):
            library.set_verbosity(level)
