"""The parts of Stable Diffusion 1, built without weights and filled to the last tensor, or not at all.

Nothing is left at random values: transformers and diffusers only warn of a weight that they did not find, and
transformers 4 finds none in a text encoder that transformers 5 saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

# Private in diffusers, with this name and these arguments in 0.30.3 and 0.42.0: loaders/single_file_utils.py.
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tinv_ext.core.errors import InputError
from tinv_ext.hosts.sd1.family import TEXT
from tinv_ext.hosts.sd1.sizes import Sizes

_TEXT_ROOTS = ("embeddings.", "encoder.", "final_layer_norm.")
_POSITIONS = "position_ids"  # 0 … 76: a buffer, which some merged checkpoints hold rounded


def pipeline_of(tensors: Mapping[str, Tensor], sizes: Sizes, name: str) -> StableDiffusionPipeline:
    """Return the pipeline of an LDM checkpoint's tensors, in float32. `name` is for the sentences of InputError."""
    return assembled(
        unet=filled(unet_of(sizes.unet), unet_tensors(tensors, sizes.unet), f"the UNet of {name}"),
        vae=filled(vae_of(sizes.vae), vae_tensors(tensors, sizes.vae), f"the VAE of {name}"),
        text_encoder=filled(
            text_encoder_of(sizes.text_encoder), text_tensors(tensors, TEXT), f"the text encoder of {name}"
        ),
        scheduler=sizes.scheduler,
        tokenizer=sizes.tokenizer,
    )


def assembled(
    unet: nn.Module, vae: nn.Module, text_encoder: nn.Module, scheduler: Mapping[str, Any], tokenizer: Path
) -> StableDiffusionPipeline:
    """Return a pipeline of the parts, without safety checker, ready to draw."""
    return StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=CLIPTokenizer.from_pretrained(str(tokenizer), local_files_only=True),
        unet=unet.eval(),
        scheduler=scheduler_of(scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def unet_of(config: Mapping[str, Any]) -> UNet2DConditionModel:
    """Return a UNet without weights."""
    return _empty(UNet2DConditionModel.from_config, config, "UNet")


def vae_of(config: Mapping[str, Any]) -> AutoencoderKL:
    """Return a VAE without weights."""
    return _empty(AutoencoderKL.from_config, config, "VAE")


def text_encoder_of(config: Mapping[str, Any]) -> CLIPTextModel:
    """Return a text encoder without weights."""
    return _empty(lambda given: CLIPTextModel(CLIPTextConfig.from_dict(given)), config, "text encoder")


def _empty(build: Callable[[dict[str, Any]], Any], config: Mapping[str, Any], what: str) -> Any:
    try:
        with torch.device("meta"):
            return build(dict(config))
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise InputError(
            f"The config of the {what} makes no model ({error}). Bring the model's configs anew."
        ) from error


def scheduler_of(config: Mapping[str, Any]) -> DDIMScheduler:
    """Return DDIM with the noise schedule of any scheduler's config, as SD1 wants it.

    SD1 counts its steps from 1 and ends at the first alpha; its latents may go beyond 1.
    """
    kept = {key: value for key, value in config.items() if not key.startswith("_")}
    known = DDIMScheduler.from_config({}).config
    given = {key: value for key, value in kept.items() if key in known}
    return DDIMScheduler.from_config({**given, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1})


def unet_tensors(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the UNet's tensors by diffusers' names. The running averages (model_ema) are left, as the WebUI does."""
    return _converted(convert_ldm_unet_checkpoint, tensors, config, "UNet")


def vae_tensors(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the VAE's tensors by diffusers' names; 1×1 convolutions of its attention become linear layers."""
    return _converted(convert_ldm_vae_checkpoint, tensors, config, "VAE")


def _converted(
    convert: Callable[..., dict[str, Tensor]], tensors: Mapping[str, Tensor], config: Mapping[str, Any], what: str
) -> dict[str, Tensor]:
    try:
        return convert(dict(tensors), config={"class_embed_type": None, "addition_embed_type": None, **config})
    except (KeyError, IndexError) as error:
        raise InputError(
            f"The {what} of the checkpoint has no {error}, so it is not whole or of another size than its config says. "
            "Put the yaml that belongs to it beside it."
        ) from error


def text_tensors(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """Return a text encoder's tensors without prefixes and without what SD1 has no use for.

    Older checkpoints and transformers 5 have no `text_model.`; others bring CLIP's projection and logit scale along.
    """
    bare = {
        name[len(prefix) :].removeprefix("text_model."): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    return {name: value for name, value in bare.items() if name.startswith(_TEXT_ROOTS) and _POSITIONS not in name}


def filled(module: nn.Module, values: Mapping[str, Tensor], what: str) -> Any:
    """Return the module with every weight given, in float32. Raises InputError where names or shapes differ."""
    expected = {name: value for name, value in module.state_dict().items() if _POSITIONS not in name}
    if any(name.startswith("text_model.") for name in expected):  # transformers 4
        values = {f"text_model.{name}": value for name, value in values.items()}
    problem = _difference(expected, values)
    if problem:
        raise InputError(f"{what[0].upper()}{what[1:]} {problem}")
    module.load_state_dict({name: value.to(torch.float32) for name, value in values.items()}, strict=False, assign=True)
    _count_positions(module)
    return module


def _difference(expected: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> str | None:
    """What does not fit, as the end of a sentence; None when all does."""
    missing = sorted(expected.keys() - values.keys())
    if missing:
        return f"lacks {len(missing)} of {len(expected)} weights, such as {missing[0]}. Bring the model anew."
    unknown = sorted(values.keys() - expected.keys())
    if unknown:
        return f"has {len(unknown)} weights that SD1 has no place for, such as {unknown[0]}. Give a model of SD1."
    for name, value in values.items():
        if value.shape != expected[name].shape:
            return (
                f"has {name} in the shape {tuple(value.shape)}, but its config says {tuple(expected[name].shape)}. "
                "Put the yaml or the config files that belong to the model beside it."
            )
    return None


def _count_positions(module: nn.Module) -> None:
    """CLIP's position numbers, a buffer (1, n) that is built without values and saved only by transformers 4.30."""
    for owner in module.modules():
        buffer = owner._buffers.get(_POSITIONS)
        if buffer is not None:
            owner._buffers[_POSITIONS] = torch.arange(buffer.shape[-1])[None]
