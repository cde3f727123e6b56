"""Opening a model: a diffusers folder, a single file, or a name on the hub; of SD1, SD2 or SDXL."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import transformers
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from torch import Tensor

from tinv_ext.core.errors import InputError
from tinv_ext.hosts.diffusers.checkpoint.family import SUPPORTED, VAE, family_of, unsupported
from tinv_ext.hosts.diffusers.checkpoint.parts import (
    assembled,
    filled,
    pipeline_of,
    text_encoder_of,
    text_tensors,
    vae_of,
    vae_tensors,
    without_projection,
)
from tinv_ext.hosts.diffusers.checkpoint.reading import SUFFIXES, read_tensors
from tinv_ext.hosts.diffusers.checkpoint.sizes import read_json, tokenizer_of
from tinv_ext.hosts.diffusers.checkpoint.yamls import sizes_for
from tinv_ext.hosts.vae import INPAINTING

_BLOCK = 1 << 20
_TEXT_FILES = ("model.safetensors", "model.fp16.safetensors", "pytorch_model.bin", "pytorch_model.fp16.bin")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# class in model_index.json: the folders that it needs
_KINDS = {
    "StableDiffusionPipeline": ("unet", "vae", "text_encoder", "scheduler"),
    "StableDiffusionInpaintPipeline": ("unet", "vae", "text_encoder", "scheduler"),
    "StableDiffusionXLPipeline": ("unet", "vae", "text_encoder", "text_encoder_2", "scheduler"),
}
_OTHERS = {
    "StableDiffusionXLImg2ImgPipeline": "the refiner of SDXL",
    "StableDiffusionXLInpaintPipeline": "SDXL for inpainting",
    "StableDiffusion3Pipeline": "Stable Diffusion 3",
    "StableDiffusionDepth2ImgPipeline": "a depth model",
    "StableDiffusionInstructPix2PixPipeline": "an InstructPix2Pix model",
    "FluxPipeline": "Flux",
}


def open_pipeline(
    source: str | Path, config: str | Path | None = None, vae: str | Path | None = None
) -> DiffusionPipeline:
    """Return the pipeline of a diffusers folder or of a .safetensors or .ckpt checkpoint, in float32 on the CPU.

    `source` may also be a name on the Hugging Face hub ("owner/name"), whose files are then brought, or taken from its
    cache where there is no network. `config` gives the sizes of a single file that has others than its family's first
    model: a folder of config files, or a yaml; else the yaml of the same name beside the file counts, as in the WebUI.
    `vae` is the file of another VAE. Raises InputError: a sentence for what is wrong.
    """
    path = Path(source).expanduser()
    with _quiet():
        if not path.exists():
            path = _from_hub(str(source))
        folder = path.is_dir()
        pipeline = _open_folder(path) if folder else _open_file(path, Path(config).expanduser() if config else None)
        if vae is not None:
            pipeline.register_modules(vae=_other_vae(Path(vae).expanduser(), pipeline.vae))
        return pipeline


def _from_hub(name: str) -> Path:
    """The folder of a model on the hub, as diffusers keeps it."""
    if not _HUB_NAME.fullmatch(name) or name.lower().endswith(SUFFIXES):
        raise InputError(
            f'There is no model "{name}". Give a diffusers folder, a .safetensors or .ckpt file, or owner/name of a '
            "model on the Hugging Face hub."
        )
    try:
        return Path(DiffusionPipeline.download(name, safety_checker=None, feature_extractor=None, image_encoder=None))
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f'There is no file or folder "{name}", and it could not be brought from the hub: {_first_line(error)} '
            "Check the name and the network, or give a folder or a file."
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


def _open_file(path: Path, config: Path | None) -> DiffusionPipeline:
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f'The model "{path}" is no checkpoint: its name should end in {" or ".join(SUFFIXES[:2])}.')
    tensors = read_tensors(path)
    problem, family = unsupported(tensors), family_of(tensors)
    if problem or family is None:
        raise InputError(f'The model "{path}" {problem}')
    return pipeline_of(tensors, sizes_for(path, family, config), family, f'"{path}"')


def _other_vae(path: Path, now: AutoencoderKL) -> AutoencoderKL:
    """A VAE of the same size out of a file: alone, by diffusers' names, or in a checkpoint."""
    if not path.is_file():
        raise InputError(f'There is no VAE "{path}". Give a .safetensors, .pt or .ckpt file.')
    tensors = read_tensors(path)
    if not any(name.startswith("encoder.down_blocks.") for name in tensors):
        bare = {name.removeprefix(VAE): value for name, value in tensors.items() if not name.startswith("model.")}
        tensors = vae_tensors({VAE + name: value for name, value in bare.items()}, now.config)
    wanted = {name: value for name, value in tensors.items() if not name.startswith(("loss.", "model_ema."))}
    return filled(vae_of(now.config), wanted, f'the VAE "{path}"', "the model").eval()


def _open_folder(folder: Path) -> DiffusionPipeline:
    problems = _folder_problems(folder)
    if problems:
        raise InputError(problems)
    return assembled(
        unet=_read_part(UNet2DConditionModel, folder, "unet"),
        vae=_read_part(AutoencoderKL, folder, "vae"),
        texts=[_read_text_encoder(folder / part) for part in _parts(folder) if part.startswith("text_encoder")],
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
        tokenizer=tokenizer_of(folder / "tokenizer"),
    )


def _parts(folder: Path) -> tuple[str, ...]:
    return _KINDS.get(_kind(folder), ())


def _kind(folder: Path) -> str:
    return str(read_json(folder / "model_index.json").get("_class_name"))


def _folder_problems(folder: Path) -> list[str]:
    """What keeps the folder from being a pipeline that can be trained, judged by its small files alone."""
    if not (folder / "model_index.json").is_file():
        return [
            f'The folder "{folder}" has no model_index.json, so it is no diffusers model. Give the folder that has.'
        ]
    kind = _kind(folder)
    if kind not in _KINDS:
        return [_not_trained(folder, _OTHERS.get(kind, kind))]
    absent = [name for name in _KINDS[kind] if not (folder / name).is_dir()]
    if absent == ["text_encoder"] and kind == "StableDiffusionXLPipeline":
        return [_not_trained(folder, "the refiner of SDXL")]
    if absent:
        return [f'The model "{folder}" has no folder {name}. Bring the model anew.' for name in absent]
    inputs = read_json(folder / "unet" / "config.json").get("in_channels", 4)
    if inputs != 4 and not (inputs == INPAINTING and kind != "StableDiffusionXLPipeline"):
        return [_not_trained(folder, f"a {kind} with {inputs} input channels")]
    return []


def _not_trained(folder: Path, said: str) -> str:
    return f'The model "{folder}" is {said}, which cannot be trained. {SUPPORTED.replace("checkpoint", "model")}'


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
    values: Mapping[str, Tensor] = text_tensors(read_tensors(file))
    encoder = text_encoder_of(read_json(folder / "config.json"))
    if not hasattr(encoder, "text_projection"):
        values = without_projection(values)
    return filled(encoder, values, f'the text encoder "{file}"', "its kind")


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
