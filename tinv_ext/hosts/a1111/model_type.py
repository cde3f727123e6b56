"""Which of the WebUI's models can be trained, told by class: an allow-list, since extensions bring their own."""

from __future__ import annotations

from typing import Any

from modules import shared

from tinv_ext.core import families
from tinv_ext.core.families import SD1, SD2, SDXL, Family
from tinv_ext.core.messages import Message, message
from tinv_ext.hosts.webui.loaded_model import cannot_be_trained, none_loaded

# v1.10.1: the model's class and that of its text encoder, which modules/sd_hijack.py has wrapped
_LDM = "ldm.models.diffusion.ddpm."
_CLIP = "modules.sd_hijack_clip.FrozenCLIPEmbedderWithCustomWords"
_OPEN_CLIP = "modules.sd_hijack_open_clip.FrozenOpenCLIPEmbedderWithCustomWords"
_SGM = ("sgm.models.diffusion.DiffusionEngine", "sgm.modules.encoders.modules.GeneralConditioner")
# those of reForge and Classic, modules_forge/forge_clip.py
_PATCHED_CLIP, _PATCHED_OPEN_CLIP = "modules_forge.forge_clip.CLIP_SD_15_L", "modules_forge.forge_clip.CLIP_SD_21_H"
_TEXTS = {_CLIP: SD1, _OPEN_CLIP: SD2, _PATCHED_CLIP: SD1, _PATCHED_OPEN_CLIP: SD2}
_FAMILIES = {
    (_LDM + model, text): family
    for model in ("LatentDiffusion", "LatentInpaintDiffusion")
    for text, family in _TEXTS.items()
} | {_SGM: SDXL}
# conditioning_key of ldm's DiffusionWrapper, by class: what the UNet is given beside the noisy latent
_KEYS = {_LDM + "LatentDiffusion": "crossattn", _LDM + "LatentInpaintDiffusion": "hybrid", _SGM[0]: "crossattn"}
_SCALINGS = ("EpsScaling", "VScaling")  # sgm/modules/diffusionmodules/denoiser_scaling.py
_OTHERS = {
    "modules.models.diffusion.ddpm_edit.LatentDiffusion": families.INSTRUCT_PIX2PIX,
    "modules.models.sd3.sd3_model.SD3Inferencer": families.SD3,
    _LDM + "LatentDepth2ImageDiffusion": families.DEPTH,
    _LDM + "LatentUpscaleDiffusion": families.UPSCALER,
    _LDM + "LatentUpscaleFinetuneDiffusion": families.UPSCALER,
    _LDM + "ImageEmbeddingConditionedLatentDiffusion": families.UNCLIP,
}
_REFINERS = (
    (_SGM[0], "modules.sd_hijack_open_clip.FrozenOpenCLIPEmbedder2WithCustomWords"),
    (_SGM[0], "modules_forge.forge_clip.CLIP_SD_XL_G"),
)
# flags that v1.10.1 modules/sd_models.py (set_model_type, load_model_weights) sets on models of the classes above
_FLAGS = {
    "is_sd3": families.SD3,
    "is_ssd": families.SSD_1B,
    "is_sdxl_inpaint": families.SDXL_INPAINTING,
}


def loaded_model() -> Any:
    """The model that the WebUI has loaded; loads it if the WebUI has not yet. Raises HostError."""
    sd_model = shared.sd_model  # v1.10.1 modules/shared_items.py: a property that loads on first use
    if sd_model is None:
        raise none_loaded()
    return sd_model


def family_of(sd_model: Any) -> Family:
    """The family of a model that can be trained. Raises HostError for any other, saying what it is."""
    family, other = _FAMILIES.get(_classes(sd_model)), _other_type(sd_model)
    if family is None or other is not None:
        raise cannot_be_trained(other or _by_classes(sd_model))
    return family


def _other_type(sd_model: Any) -> Message | None:
    """What a model is that cannot be trained, though its classes may be those of one that can; None if it can."""
    for flag, model_type in _FLAGS.items():
        if getattr(sd_model, flag, False):
            return model_type
    if _classes(sd_model) in _REFINERS:
        return families.REFINER
    if _classes(sd_model) not in _FAMILIES:
        return _OTHERS.get(class_name(sd_model))
    key = sd_model.model.conditioning_key
    if key != _KEYS[class_name(sd_model)]:
        return message("hosts.type_more_inputs", 'one that needs more than a prompt ("{key}")', key=key)
    scaling = type(sd_model.denoiser.scaling).__name__ if _classes(sd_model) == _SGM else _SCALINGS[0]
    return None if scaling in _SCALINGS else families.SDXL_EDM


def class_name(thing: Any) -> str:
    """The class with its module, as `ldm.models.autoencoder.AutoencoderKL`."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _classes(sd_model: Any) -> tuple[str, str]:
    return class_name(sd_model), class_name(sd_model.cond_stage_model)


def _by_classes(sd_model: Any) -> Message:
    model_class, text_class = _classes(sd_model)
    return message(
        "hosts.type_unknown",
        "of an unknown type ({model_class} with {text_class})",
        model_class=model_class,
        text_class=text_class,
    )
