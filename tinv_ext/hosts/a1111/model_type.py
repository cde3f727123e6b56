"""Which of the WebUI's models can be trained, told by class: an allow-list, since extensions bring their own."""

from __future__ import annotations

from typing import Any

from modules import shared

from tinv_ext.core.errors import HostError
from tinv_ext.core.messages import Message, message

# v1.10.1: the model's class and that of its text encoder, which modules/sd_hijack.py has wrapped
_LDM = "ldm.models.diffusion.ddpm."
_CLIP = "modules.sd_hijack_clip.FrozenCLIPEmbedderWithCustomWords"
_OPEN_CLIP = "modules.sd_hijack_open_clip.FrozenOpenCLIPEmbedderWithCustomWords"
_SDXL = ("sgm.models.diffusion.DiffusionEngine", "sgm.modules.encoders.modules.GeneralConditioner")
_FAMILIES = {
    (_LDM + "LatentDiffusion", _CLIP): "SD1",
    (_LDM + "LatentDiffusion", _OPEN_CLIP): "SD2",
    (_LDM + "LatentInpaintDiffusion", _CLIP): "SD1",
    (_LDM + "LatentInpaintDiffusion", _OPEN_CLIP): "SD2",
    _SDXL: "SDXL",
}
# conditioning_key of ldm's DiffusionWrapper, by class: what the UNet is given beside the noisy latent
_KEYS = {_LDM + "LatentDiffusion": "crossattn", _LDM + "LatentInpaintDiffusion": "hybrid", _SDXL[0]: "crossattn"}
_SCALINGS = ("EpsScaling", "VScaling")  # sgm/modules/diffusionmodules/denoiser_scaling.py
_SD3 = message("hosts.type_sd3", "Stable Diffusion 3")
_UPSCALER = message("hosts.type_upscaler", "an upscaler")
_OTHERS = {
    "modules.models.diffusion.ddpm_edit.LatentDiffusion": message(
        "hosts.type_instruct_pix2pix", "an InstructPix2Pix model"
    ),
    "modules.models.sd3.sd3_model.SD3Inferencer": _SD3,
    _LDM + "LatentDepth2ImageDiffusion": message("hosts.type_depth", "a depth model"),
    _LDM + "LatentUpscaleDiffusion": _UPSCALER,
    _LDM + "LatentUpscaleFinetuneDiffusion": _UPSCALER,
    _LDM + "ImageEmbeddingConditionedLatentDiffusion": message("hosts.type_unclip", "an unCLIP model"),
}
_REFINER = (_SDXL[0], "modules.sd_hijack_open_clip.FrozenOpenCLIPEmbedder2WithCustomWords")
# flags that v1.10.1 modules/sd_models.py (set_model_type, load_model_weights) sets on models of the classes above
_FLAGS = {
    "is_sd3": _SD3,
    "is_ssd": message("hosts.type_ssd", "SSD-1B"),
    "is_sdxl_inpaint": message("hosts.type_sdxl_inpainting", "an SDXL inpainting model"),
}


def loaded_model() -> Any:
    """The model that the WebUI has loaded; loads it if the WebUI has not yet. Raises HostError."""
    sd_model = shared.sd_model  # v1.10.1 modules/shared_items.py: a property that loads on first use
    if sd_model is None:
        raise HostError(
            message(
                "hosts.no_model_loaded",
                "No checkpoint is loaded. Choose one at the top of the page and wait until it is loaded.",
            )
        )
    return sd_model


def family(sd_model: Any) -> str:
    """ "SD1", "SD2" or "SDXL" for a model that can be trained. Raises HostError for any other, saying what it is."""
    name, other = _FAMILIES.get(_classes(sd_model)), _other_type(sd_model)
    if name is None or other is not None:
        raise HostError(
            message(
                "hosts.model_cannot_be_trained",
                "The loaded model is {type}, which cannot be trained. Load an SD1, SD2 or SDXL model (base, not "
                "refiner).",
                type=other or _by_classes(sd_model),
            )
        )
    return name


def _other_type(sd_model: Any) -> Message | None:
    """What a model is that cannot be trained, though its classes may be those of one that can; None if it can."""
    for flag, model_type in _FLAGS.items():
        if getattr(sd_model, flag, False):
            return model_type
    if _classes(sd_model) == _REFINER:
        return message("hosts.type_refiner", "the SDXL refiner")
    if _classes(sd_model) not in _FAMILIES:
        return _OTHERS.get(class_name(sd_model))
    key = sd_model.model.conditioning_key
    if key != _KEYS[class_name(sd_model)]:
        return message("hosts.type_more_inputs", 'one that needs more than a prompt ("{key}")', key=key)
    scaling = type(sd_model.denoiser.scaling).__name__ if _classes(sd_model) == _SDXL else _SCALINGS[0]
    if scaling in _SCALINGS:
        return None
    return message(
        "hosts.type_other_noise", "an SDXL model with a different noise formula ({scaling})", scaling=scaling
    )


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
