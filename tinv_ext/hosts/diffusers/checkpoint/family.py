"""What a checkpoint is, told from the names and shapes of its tensors: a family that can be trained, or what else."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tinv_ext.hosts.vae import INPAINTING

UNET = "model.diffusion_model."
VAE = "first_stage_model."
FIRST = UNET + "input_blocks.0.0.weight"  # (channels, input channels, 3, 3)
# Beginnings of the text encoders' names; the first of these that a name has decides the family.
TEXTS = {
    "SDXL": ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
    "SD2": ("cond_stage_model.model.",),
    "SD1": ("cond_stage_model.transformer.",),
}

_OTHERS = (
    ("edm_mean", "is an SDXL with other noise (EDM)"),
    ("edm_vpred.", "is an SDXL with other noise (EDM)"),
    ("depth_model.", "is a depth checkpoint"),
    ("embedder.model.", "is an unCLIP checkpoint"),
    (UNET + "joint_blocks.", "is a Stable Diffusion 3 checkpoint"),
    (UNET + "double_blocks.", "is a Flux checkpoint"),
    ("double_blocks.", "is a Flux checkpoint"),
)
_PARTS = (
    ("lora_", "is a LoRA, which changes a model but is none"),
    ("control_model.", "is a ControlNet, which guides a model but is none"),
    ("emb_params", "is an embedding, not a model"),
    ("string_to_param", "is an embedding, not a model"),
    ("down_blocks.", "is one part of a diffusers folder: give the folder that holds model_index.json"),
    ("text_model.", "is a text encoder alone"),
    ("first_stage_model.", "is a VAE alone"),
    ("decoder.", "is a VAE alone"),
)
_INPUTS = {INPAINTING: "is an SDXL inpainting checkpoint", 8: "is an InstructPix2Pix checkpoint"}
_INPUTS |= {5: "is a depth checkpoint"}
SUPPORTED = "Give a checkpoint of SD1, SD2 or SDXL (the base, not the refiner)."


def family_of(tensors: Mapping[str, Tensor]) -> str | None:
    """ "SD1", "SD2" or "SDXL"; None if the text encoder is of none of them."""
    if _has(tensors, "conditioner.embedders.1."):
        return "SDXL"
    return next((name for name in ("SD2", "SD1") if _has(tensors, TEXTS[name][0])), None)


def inputs_of(tensors: Mapping[str, Tensor]) -> int:
    """How many channels the UNet takes."""
    return int(tensors[FIRST].shape[1])


def unsupported(tensors: Mapping[str, Tensor]) -> str | None:
    """Return what the checkpoint is, as the end of a sentence that begins with its name; None if it can be trained."""
    for initial, said in _OTHERS:
        if _has(tensors, initial):
            return f"{said}, which cannot be trained. {SUPPORTED}"
    family = family_of(tensors)
    if family is None and _has(tensors, "conditioner.embedders.0.model."):
        return f"is the refiner of SDXL, which cannot be trained. {SUPPORTED}"
    if FIRST not in tensors:
        said = next((said for initial, said in _PARTS if _has(tensors, initial)), "holds no Stable Diffusion")
        return f"{said}. {SUPPORTED}"
    inputs = inputs_of(tensors)
    if inputs != 4 and not (inputs == INPAINTING and family != "SDXL"):
        said = _INPUTS.get(inputs, f"has a UNet with {inputs} input channels")
        return f"{said}, which cannot be trained. {SUPPORTED}"
    texts = TEXTS[family or "SD1"]
    absent = ["VAE"] if not _has(tensors, VAE) else []
    absent += ["text encoder"] if not all(_has(tensors, text) for text in texts) else []
    if absent:
        return f"lacks the {' and the '.join(absent)}. Give a full checkpoint, with everything in one file."
    return None


def _has(tensors: Mapping[str, Tensor], initial: str) -> bool:
    return any(name.startswith(initial) for name in tensors)
