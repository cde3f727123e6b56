"""A pipeline of Stable Diffusion from a checkpoint's tensors: its parts built empty, then filled with the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tinv_ext.core.errors import InputError
from tinv_ext.core.families import Family
from tinv_ext.core.messages import Message, message
from tinv_ext.hosts.diffusers.checkpoint.configs import ModelConfigs
from tinv_ext.hosts.diffusers.checkpoint.family import UNET, VAE, input_channels
from tinv_ext.hosts.diffusers.checkpoint.open_clip import to_transformers_names
from tinv_ext.hosts.diffusers.checkpoint.read_tensors import Stored
from tinv_ext.hosts.diffusers.checkpoint.weights import (
    load_weights,
    read_weights,
    text_tensors,
    unet_tensors,
    vae_tensors,
    without_projection,
)
from tinv_ext.hosts.vae import INPAINTING

_PAD_TOKENS = {"quick_gelu": "<|endoftext|>", "gelu": "!"}  # OpenAI's CLIP pads with the end, OpenCLIP with 0


def build_pipeline(
    stored: Stored, configs: ModelConfigs, family: Family, name: str, dtype: torch.dtype = torch.float32
) -> DiffusionPipeline:
    """Return the pipeline of a checkpoint's tensors, UNet and text encoders in `dtype`, the VAE in float32.

    `name` is for the sentences of InputError.
    """
    unet_part = message("checkpoint.unet_of", 'The UNet of "{model}"', model=name)
    vae_part = message("checkpoint.vae_of", 'The VAE of "{model}"', model=name)
    weights = unet_tensors(read_weights(stored, UNET, dtype), configs.unet)
    unet = empty_unet({**configs.unet, "in_channels": input_channels(stored)})
    unet = load_weights(unet, weights, unet_part, family.name, dtype)
    weights = vae_tensors(read_weights(stored, VAE, torch.float32), configs.vae)
    vae = load_weights(empty_vae(configs.vae), weights, vae_part, family.name)
    return assemble(
        unet=unet,
        vae=vae,
        text_encoders=[
            _text_encoder(read_weights(stored, prefix, dtype), prefix, config, name, family, dtype)
            for prefix, config in zip(family.checkpoint_prefixes, configs.text_encoders)
        ],
        scheduler=_scheduler_config(stored, configs, unet),
        tokenizer=configs.tokenizer,
    )


def _text_encoder(
    tensors: Mapping[str, Tensor], prefix: str, config: Mapping[str, Any], name: str, family: Family, dtype: torch.dtype
) -> CLIPTextModel | CLIPTextModelWithProjection:
    encoder = empty_text_encoder(config)
    if prefix.endswith(".model."):
        values = to_transformers_names(tensors, prefix, config["num_hidden_layers"], name)
    else:
        values = text_tensors(tensors, prefix)
    part = message("checkpoint.text_encoder_of", 'The text encoder of "{model}"', model=name)
    return load_weights(encoder, values if _projects(config) else without_projection(values), part, family.name, dtype)


def _scheduler_config(tensors: Stored, configs: ModelConfigs, unet: Any) -> dict[str, Any]:
    """The scheduler's config, where only the weights say what they predict, or marks among them do.

    Checkpoints of SDXL that predict velocity hold the empty tensors `v_pred` and, with noise up to the last bit of
    signal, `ztsnr` (ComfyUI comfy/supported_models.py, class SDXL, reads the same).
    """
    config = dict(configs.scheduler)
    if "v_pred" in tensors:
        config["prediction_type"] = "v_prediction"
    if "ztsnr" in tensors:
        config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if "prediction_type" not in config:
        config["prediction_type"] = "v_prediction" if predicts_velocity(unet) else "epsilon"
    return config


@torch.no_grad()
def predicts_velocity(unet: Any) -> bool:
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
    with _computing_in_float32(unet):
        return float((unet(noisy, torch.tensor([999]), context).sample - noisy).mean()) < -1


@contextmanager
def _computing_in_float32(model: Any) -> Iterator[None]:
    """While open, each layer of a model in half precision computes in float32, in which it is while it computes only.

    A CPU may not know float16; and all of a model is not to be there in float32.
    """
    layers = [layer for layer in model.modules() if layer._parameters]
    before: dict[Any, dict[str, Tensor]] = {}

    def raise_precision(layer: Any, given: Any) -> None:
        own = {name: value.data for name, value in layer._parameters.items() if value is not None}
        before[layer] = own
        for name, value in own.items():
            layer._parameters[name].data = value.float()

    def lower_precision(layer: Any, given: Any, answer: Any) -> None:
        for name, value in before.pop(layer).items():
            layer._parameters[name].data = value

    handles = [layer.register_forward_pre_hook(raise_precision) for layer in layers]
    handles += [layer.register_forward_hook(lower_precision) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def assemble(
    unet: Any, vae: Any, text_encoders: Sequence[Any], scheduler: Mapping[str, Any], tokenizer: Path
) -> DiffusionPipeline:
    """Return a pipeline of the parts, without safety checker, ready to generate."""
    tokenizers = [_tokenizer(tokenizer, encoder.config.hidden_act) for encoder in text_encoders]
    parts = {"unet": unet.eval(), "vae": vae.eval(), "scheduler": ddim_scheduler(scheduler)}
    parts |= {"text_encoder": text_encoders[0].eval(), "tokenizer": tokenizers[0]}
    if len(text_encoders) == 2:
        parts |= {"text_encoder_2": text_encoders[1].eval(), "tokenizer_2": tokenizers[1]}
        return StableDiffusionXLPipeline(**parts, add_watermarker=False)
    inpainting = unet.config.in_channels == INPAINTING
    pipeline_class = StableDiffusionInpaintPipeline if inpainting else StableDiffusionPipeline
    return pipeline_class(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def _tokenizer(folder: Path, activation: str) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(str(folder), pad_token=_PAD_TOKENS[activation], local_files_only=True)


def empty_unet(config: Mapping[str, Any]) -> UNet2DConditionModel:
    """Return a UNet without weights."""
    return _empty(UNet2DConditionModel.from_config, config, message("checkpoint.unet", "UNet"))


def empty_vae(config: Mapping[str, Any]) -> AutoencoderKL:
    """Return a VAE without weights."""
    return _empty(AutoencoderKL.from_config, config, message("checkpoint.vae", "VAE"))


def empty_text_encoder(config: Mapping[str, Any]) -> CLIPTextModel | CLIPTextModelWithProjection:
    """Return a text encoder without weights; SDXL's second has a projection."""
    encoder_class = CLIPTextModelWithProjection if _projects(config) else CLIPTextModel
    part = message("checkpoint.text_encoder", "text encoder")
    return _empty(lambda values: encoder_class(CLIPTextConfig.from_dict(values)), config, part)


def _projects(config: Mapping[str, Any]) -> bool:
    return "CLIPTextModelWithProjection" in config.get("architectures", ())


def _empty(build: Callable[[dict[str, Any]], Any], config: Mapping[str, Any], part: Message) -> Any:
    try:
        with torch.device("meta"):
            return build(dict(config))
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise InputError(
            message(
                "checkpoint.config_wrong",
                "No {part} can be built from its config ({error}). Download the model's configs again.",
                part=part,
                error=str(error),
            )
        ) from error


def ddim_scheduler(config: Mapping[str, Any]) -> DDIMScheduler:
    """Return DDIM with the noise schedule of any scheduler's config, as Stable Diffusion wants it.

    It counts its steps from 1 and ends at the first alpha; its latents may go beyond 1.
    """
    known = DDIMScheduler.from_config({}).config
    noise = {key: value for key, value in config.items() if not key.startswith("_") and key in known}
    return DDIMScheduler.from_config({**noise, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1})
