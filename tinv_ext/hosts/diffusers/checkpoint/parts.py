"""The parts of Stable Diffusion, built without weights and filled to the last tensor, or not at all.

Nothing is left at random values: transformers and diffusers only warn of a weight that they did not find, and
transformers 4 finds none in a text encoder that transformers 5 saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

# Private in diffusers, with this name and these arguments in 0.30.3 and 0.42.0: loaders/single_file_utils.py.
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tinv_ext.core.errors import InputError
from tinv_ext.hosts.diffusers.checkpoint.family import TEXTS, inputs_of
from tinv_ext.hosts.diffusers.checkpoint.open_clip import by_transformers_names
from tinv_ext.hosts.diffusers.checkpoint.sizes import Sizes
from tinv_ext.hosts.vae import INPAINTING

_TEXT_ROOTS = ("embeddings.", "encoder.", "final_layer_norm.")
_PROJECTION = "text_projection.weight"
_POSITIONS = "position_ids"  # 0 … 76: a buffer, which some merged checkpoints hold rounded
_PADS = {"quick_gelu": "<|endoftext|>", "gelu": "!"}  # OpenAI's CLIP fills up with the end, OpenCLIP with 0


def pipeline_of(tensors: Mapping[str, Tensor], sizes: Sizes, family: str, name: str) -> DiffusionPipeline:
    """Return the pipeline of a checkpoint's tensors, in float32. `name` is for the sentences of InputError."""
    unet = unet_of({**sizes.unet, "in_channels": inputs_of(tensors)})
    unet = filled(unet, unet_tensors(tensors, sizes.unet), f"the UNet of {name}", family)
    return assembled(
        unet=unet,
        vae=filled(vae_of(sizes.vae), vae_tensors(tensors, sizes.vae), f"the VAE of {name}", family),
        texts=[
            _text_encoder(tensors, prefix, config, f"the text encoder of {name}", family)
            for prefix, config in zip(TEXTS[family], sizes.text_encoders)
        ],
        scheduler=_noise_of(tensors, sizes, unet),
        tokenizer=sizes.tokenizer,
    )


def _text_encoder(
    tensors: Mapping[str, Tensor], prefix: str, config: Mapping[str, Any], what: str, family: str
) -> CLIPTextModel | CLIPTextModelWithProjection:
    encoder = text_encoder_of(config)
    if prefix.endswith(".model."):
        values = by_transformers_names(tensors, prefix, config["num_hidden_layers"], what)
    else:
        values = text_tensors(tensors, prefix)
    return filled(encoder, values if _projects(config) else without_projection(values), what, family)


def _noise_of(tensors: Mapping[str, Tensor], sizes: Sizes, unet: nn.Module) -> dict[str, Any]:
    """The scheduler's config, where only the weights say what they predict, or marks among them do.

    Checkpoints of SDXL that predict velocity hold the empty tensors `v_pred` and, with noise up to the last bit of
    signal, `ztsnr` (ComfyUI comfy/supported_models.py, class SDXL, reads the same).
    """
    noise = dict(sizes.scheduler)
    if "v_pred" in tensors:
        noise["prediction_type"] = "v_prediction"
    if "ztsnr" in tensors:
        noise |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if "prediction_type" not in noise:
        noise["prediction_type"] = "v_prediction" if predicts_velocity(unet) else "epsilon"
    return noise


@torch.no_grad()
def predicts_velocity(unet: nn.Module) -> bool:
    """Whether a UNet of SD2 predicts velocity, which nothing but its answer tells.

    At the last timestep a noisy latent is all noise: who predicts noise answers about that; who predicts velocity
    answers much less (v1.10.1 modules/sd_models_config.py asks the same). A UNet without weights predicts noise.
    """
    weight = next(unet.parameters())
    if weight.is_meta:
        return False
    noisy = torch.full((1, 4, 8, 8), 0.5)
    context = torch.full((1, 2, unet.config.cross_attention_dim), 0.5)
    if unet.config.in_channels == INPAINTING:
        return False
    return float((unet(noisy, torch.tensor([999]), context).sample - noisy).mean()) < -1


def assembled(
    unet: nn.Module, vae: nn.Module, texts: Sequence[nn.Module], scheduler: Mapping[str, Any], tokenizer: Path
) -> DiffusionPipeline:
    """Return a pipeline of the parts, without safety checker, ready to draw."""
    tokenizers = [_tokenizer(tokenizer, text.config.hidden_act) for text in texts]
    parts = {"unet": unet.eval(), "vae": vae.eval(), "scheduler": scheduler_of(scheduler)}
    parts |= {"text_encoder": texts[0].eval(), "tokenizer": tokenizers[0]}
    if len(texts) == 2:
        parts |= {"text_encoder_2": texts[1].eval(), "tokenizer_2": tokenizers[1]}
        return StableDiffusionXLPipeline(**parts, add_watermarker=False)
    kind = StableDiffusionInpaintPipeline if unet.config.in_channels == INPAINTING else StableDiffusionPipeline
    return kind(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def _tokenizer(folder: Path, activation: str) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(str(folder), pad_token=_PADS[activation], local_files_only=True)


def unet_of(config: Mapping[str, Any]) -> UNet2DConditionModel:
    """Return a UNet without weights."""
    return _empty(UNet2DConditionModel.from_config, config, "UNet")


def vae_of(config: Mapping[str, Any]) -> AutoencoderKL:
    """Return a VAE without weights."""
    return _empty(AutoencoderKL.from_config, config, "VAE")


def text_encoder_of(config: Mapping[str, Any]) -> CLIPTextModel | CLIPTextModelWithProjection:
    """Return a text encoder without weights; SDXL's second has a projection."""
    kind = CLIPTextModelWithProjection if _projects(config) else CLIPTextModel
    return _empty(lambda given: kind(CLIPTextConfig.from_dict(given)), config, "text encoder")


def _projects(config: Mapping[str, Any]) -> bool:
    return "CLIPTextModelWithProjection" in config.get("architectures", ())


def _empty(build: Callable[[dict[str, Any]], Any], config: Mapping[str, Any], what: str) -> Any:
    try:
        with torch.device("meta"):
            return build(dict(config))
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise InputError(
            f"The config of the {what} makes no model ({error}). Bring the model's configs anew."
        ) from error


def scheduler_of(config: Mapping[str, Any]) -> DDIMScheduler:
    """Return DDIM with the noise schedule of any scheduler's config, as Stable Diffusion wants it.

    It counts its steps from 1 and ends at the first alpha; its latents may go beyond 1.
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
    """Return a text encoder's tensors without prefixes and without what no family has a use for.

    Older checkpoints and transformers 5 have no `text_model.`; others bring a logit scale along.
    """
    bare = {
        name[len(prefix) :].removeprefix("text_model."): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    roots = (*_TEXT_ROOTS, _PROJECTION)
    return {name: value for name, value in bare.items() if name.startswith(roots) and _POSITIONS not in name}


def without_projection(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CLIP's projection left out, which only SDXL's second text encoder has a use for."""
    return {name: value for name, value in values.items() if name != _PROJECTION}


def filled(module: nn.Module, values: Mapping[str, Tensor], what: str, family: str) -> Any:
    """Return the module with every weight given, in float32. Raises InputError where names or shapes differ."""
    expected = {name: value for name, value in module.state_dict().items() if _POSITIONS not in name}
    if any(name.startswith("text_model.") for name in expected):  # transformers 4, and with projection any
        values = {name if name == _PROJECTION else f"text_model.{name}": value for name, value in values.items()}
    problem = _difference(expected, values, family)
    if problem:
        raise InputError(f"{what[0].upper()}{what[1:]} {problem}")
    module.load_state_dict({name: value.to(torch.float32) for name, value in values.items()}, strict=False, assign=True)
    _count_positions(module)
    return module


def _difference(expected: Mapping[str, Tensor], values: Mapping[str, Tensor], family: str) -> str | None:
    """What does not fit, as the end of a sentence; None when all does."""
    missing = sorted(expected.keys() - values.keys())
    if missing:
        return f"lacks {len(missing)} of {len(expected)} weights, such as {missing[0]}. Bring the model anew."
    unknown = sorted(values.keys() - expected.keys())
    if unknown:
        return (
            f"has {len(unknown)} weights that {family} has no place for, such as {unknown[0]}. Give a plain model of "
            f"{family}."
        )
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
