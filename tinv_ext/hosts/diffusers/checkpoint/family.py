"""What a checkpoint is, told from the names and shapes of its tensors: a family that can be trained, or what else."""

from __future__ import annotations

from tinv_ext.core import families
from tinv_ext.core.families import FAMILIES, Family
from tinv_ext.core.messages import Message, message
from tinv_ext.hosts.diffusers.checkpoint.read_tensors import Stored
from tinv_ext.hosts.vae import INPAINTING

UNET = "model.diffusion_model."
VAE = "first_stage_model."
FIRST_CONV = UNET + "input_blocks.0.0.weight"  # (channels, input channels, 3, 3)

# Beginnings of tensors' names. The first that one of the checkpoint's tensors has tells what it is.
_UNSUPPORTED = (
    ("edm_mean", families.SDXL_EDM),
    ("edm_vpred.", families.SDXL_EDM),
    ("depth_model.", families.DEPTH),
    ("embedder.model.", families.UNCLIP),
    (UNET + "joint_blocks.", families.SD3),
    (UNET + "double_blocks.", families.FLUX),
    ("double_blocks.", families.FLUX),
)
_REFINER = "conditioner.embedders.0.model."
_NO_MODEL = (
    ("lora_", message("checkpoint.is_lora", "a LoRA, which changes a model but is not one itself")),
    ("control_model.", message("checkpoint.is_controlnet", "a ControlNet, which guides a model but is not one itself")),
    ("emb_params", message("checkpoint.is_embedding", "an embedding, not a model")),
    ("string_to_param", message("checkpoint.is_embedding", "an embedding, not a model")),
    (
        "down_blocks.",
        message("checkpoint.is_part", "one part of a diffusers model. Give the folder with model_index.json"),
    ),
    ("text_model.", message("checkpoint.is_text_encoder", "only a text encoder")),
    (VAE, message("checkpoint.is_vae", "only a VAE")),
    ("decoder.", message("checkpoint.is_vae", "only a VAE")),
)
_INPUTS = {INPAINTING: families.SDXL_INPAINTING, 8: families.INSTRUCT_PIX2PIX, 5: families.DEPTH}


def family_of(tensors: Stored) -> Family | None:
    """The family whose text encoder the checkpoint has, the newest where there are several; None if it has none."""
    return next(
        (
            family
            for family in reversed(list(FAMILIES.values()))
            if any(_has(tensors, prefix) for prefix in family.checkpoint_prefixes)
        ),
        None,
    )


def input_channels(tensors: Stored) -> int:
    """How many channels the UNet takes."""
    return int(tensors[FIRST_CONV].shape[1])


def takes_inputs(family: Family, channels: int) -> bool:
    """Whether a UNet of the family with so many input channels can be trained: a plain or an inpainting model."""
    return channels == family.latent_channels or (channels == INPAINTING and family.inpainting)


def why_unsupported(tensors: Stored, name: str) -> Message | None:
    """Why the checkpoint called `name` cannot be trained; None if it can be."""
    family = family_of(tensors)
    unsupported = next((kind for start, kind in _UNSUPPORTED if _has(tensors, start)), None)
    if unsupported is None and family is None and _has(tensors, _REFINER):
        unsupported = families.REFINER
    if unsupported is not None:
        return cannot_be_trained(name, unsupported)
    if FIRST_CONV not in tensors:
        return _no_model(tensors, name)
    channels = input_channels(tensors)
    if not takes_inputs(family or families.SD1, channels):
        other = message("checkpoint.other_inputs", "a model whose UNet has {count} input channels", count=channels)
        return cannot_be_trained(name, _INPUTS.get(channels, other))
    missing: list[str] = [] if _has(tensors, VAE) else ["VAE"]
    if family is None or not all(_has(tensors, prefix) for prefix in family.checkpoint_prefixes):
        missing.append(message("checkpoint.text_encoder", "text encoder"))
    if missing:
        return message(
            "checkpoint.lacks_parts",
            'The model "{model}" lacks these parts: {parts:, }. Give a full checkpoint, with everything in one file.',
            model=name,
            parts=missing,
        )
    return None


def _no_model(tensors: Stored, name: str) -> Message:
    other = next((kind for start, kind in _NO_MODEL if _has(tensors, start)), None)
    if other is None:
        return message(
            "checkpoint.no_stable_diffusion",
            'The file "{model}" does not contain a Stable Diffusion model. {remedy}',
            model=name,
            remedy=families.supported(),
        )
    return message(
        "checkpoint.no_model",
        'The file "{model}" is {kind}. {remedy}',
        model=name,
        kind=other,
        remedy=families.supported(),
    )


def cannot_be_trained(name: str, kind: Message) -> Message:
    """The sentence for a model called `name` that is of another kind than those that can be trained."""
    return message(
        "checkpoint.cannot_be_trained",
        'The model "{model}" is {kind}, which cannot be trained. {remedy}',
        model=name,
        kind=kind,
        remedy=families.supported(),
    )


def _has(tensors: Stored, start: str) -> bool:
    return any(name.startswith(start) for name in tensors)
