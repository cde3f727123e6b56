"""What a checkpoint is, told from the names and shapes of its tensors: Stable Diffusion 1, or what else."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer."
FIRST = UNET + "input_blocks.0.0.weight"  # (channels, input channels, 3, 3)

# The first beginning that one of the names has decides.
_OTHERS = (
    ("conditioner.embedders.1.", "is an SDXL checkpoint"),
    ("conditioner.embedders.0.model.", "is the refiner of SDXL"),
    ("cond_stage_model.model.", "is a Stable Diffusion 2 checkpoint"),
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
_INPUTS = {9: "is an inpainting checkpoint", 8: "is an InstructPix2Pix checkpoint", 5: "is a depth checkpoint"}
_SUPPORTED = "; only SD1 is supported so far. Give a checkpoint of Stable Diffusion 1."


def unsupported(tensors: Mapping[str, Tensor]) -> str | None:
    """Return what the checkpoint is, as the end of a sentence that begins with its name; None for SD1."""
    for beginning, said in _OTHERS:
        if _has(tensors, beginning):
            return said + _SUPPORTED
    if FIRST not in tensors:
        said = next((said for beginning, said in _PARTS if _has(tensors, beginning)), "holds no Stable Diffusion")
        return said + ". Give a checkpoint of Stable Diffusion 1."
    inputs = int(tensors[FIRST].shape[1])
    if inputs != 4:
        return _INPUTS.get(inputs, f"has a UNet with {inputs} input channels") + _SUPPORTED
    absent = [said for prefix, said in ((VAE, "VAE"), (TEXT, "text encoder")) if not _has(tensors, prefix)]
    if absent:
        return f"lacks the {' and the '.join(absent)}. Give a full checkpoint, with everything in one file."
    return None


def _has(tensors: Mapping[str, Tensor], beginning: str) -> bool:
    return any(name.startswith(beginning) for name in tensors)
