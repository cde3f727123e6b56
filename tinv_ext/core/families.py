"""The model families that can be trained, one row each; and what other models are called.

Formats, embeddings, checkpoints and hosts ask the row for what they must know of a family. To add one:

1. Add its row to `FAMILIES`.
2. Put the configs of its first model into `hosts/diffusers/configs/<name in lower case>/`, as diffusers saves them.
3. Write what is truly new about it: how a host recognises the loaded model (`hosts/diffusers/pipelines.py: family_of`,
   `hosts/a1111/model_type.py`, `hosts/forge/model_type.py`) and how its text encoders are called (`encoders.py` there);
   tensors that its checkpoints name in another way (`hosts/diffusers/checkpoint/`).
4. If its VAE has another factor than `VAE_FACTOR`, give the factor to whatever uses that constant: the limits of sizes,
   masks and opacity, cached latents, the hosts' native size.
5. If its VAE also shifts latents, or its inpainting models have other inputs than `INPAINTING`: `hosts/vae.py`.
6. Give it a small pipeline in `tests/hosts/diffusers/small_pipelines.py`, which the tests of the families run over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tinv_ext.core.messages import Message, message

MAX_CLIP_SKIP = 12
"""Layers of SD1's text encoder."""

VAE_FACTOR = 8
"""Pixels along one side of a latent's element, in every family: image sizes, masks and cached latents go by it."""

CHUNK = 75
"""Tokens that a text encoder takes together, between start and end, in every family."""


@dataclass(frozen=True)
class Family:
    """What sets one family's models apart.

    `encoders` are its text encoders, each with the width of a token vector, in the order in which the UNet takes them.
    `native_size` is the image size in pixels that the models were made for, `native_size_v` that of those which predict
    v where it is another. `modelspec` is the architecture's name in the ModelSpec standard. `codebase` tells how the
    original configs and checkpoints are laid out. `checkpoint_prefixes` are those of the text encoders' tensors in a
    single file, `pipelines` the names of diffusers' classes.
    """

    name: str
    encoders: tuple[tuple[str, int], ...]
    native_size: int
    modelspec: str
    codebase: Literal["ldm", "sgm"]
    checkpoint_prefixes: tuple[str, ...]
    pipelines: tuple[str, ...]
    native_size_v: int | None = None
    modelspec_v: str | None = None  # of models that predict v, where it is another
    clip_skip: bool = False  # whether clip skip counts; elsewhere the config tells the layer
    inpainting: bool = True  # whether inpainting models can be trained, too
    latent_channels: int = 4

    @property
    def config_folder(self) -> str:
        """The folder of its configs, in `hosts/diffusers/configs/`."""
        return self.name.lower()


SD1 = Family(
    name="SD1",
    encoders=(("clip_l", 768),),
    native_size=512,
    modelspec="stable-diffusion-v1",
    codebase="ldm",
    checkpoint_prefixes=("cond_stage_model.transformer.",),
    pipelines=("StableDiffusionPipeline", "StableDiffusionInpaintPipeline"),
    clip_skip=True,
)
SD2 = Family(
    name="SD2",
    encoders=(("clip_h", 1024),),
    native_size=512,
    native_size_v=768,
    modelspec="stable-diffusion-v2-512",
    modelspec_v="stable-diffusion-v2-768-v",
    codebase="ldm",
    checkpoint_prefixes=("cond_stage_model.model.",),
    pipelines=("StableDiffusionPipeline", "StableDiffusionInpaintPipeline"),
)
SDXL = Family(
    name="SDXL",
    encoders=(("clip_l", 768), ("clip_g", 1280)),
    native_size=1024,
    modelspec="stable-diffusion-xl-v1-base",
    codebase="sgm",
    checkpoint_prefixes=("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
    pipelines=("StableDiffusionXLPipeline",),
    inpainting=False,
)
FAMILIES: Mapping[str, Family] = {family.name: family for family in (SD1, SD2, SDXL)}

WIDTHS: Mapping[str, int] = {encoder: width for family in FAMILIES.values() for encoder, width in family.encoders}
"""Every text encoder that an embedding can be for, with the width of its token vectors."""

_ENCODER_OF_WIDTH = {width: encoder for encoder, width in WIDTHS.items()}


def encoder_of_width(width: int) -> str:
    """The encoder that one tensor of this width is for, where its file does not say; of any other model's, clip_l."""
    return _ENCODER_OF_WIDTH.get(width, "clip_l")


def family_of_widths(widths: Mapping[str, int]) -> Family | None:
    """The family whose encoders these are, by width; None for another model's, and for one half of a pair."""
    return next((family for family in FAMILIES.values() if dict(family.encoders) == dict(widths)), None)


# --- models that cannot be trained, as the end of "The model is …" ----------------------------------------------------

REFINER = message("families.refiner", "the SDXL refiner")
SDXL_INPAINTING = message("families.sdxl_inpainting", "an SDXL inpainting model")
SDXL_EDM = message("families.sdxl_edm", "an SDXL model with EDM noise")
SSD_1B = message("families.ssd_1b", "SSD-1B")
SMALLER_SDXL = message("families.smaller_sdxl", "a smaller relative of SDXL (SSD-1B, Vega, KOALA)")
RECTIFIED_FLOW = message("families.rectified_flow", "a rectified-flow model")
SD3 = message("families.sd3", "Stable Diffusion 3")
FLUX = message("families.flux", "Flux")
DEPTH = message("families.depth", "a depth model")
INSTRUCT_PIX2PIX = message("families.instruct_pix2pix", "an InstructPix2Pix model")
UNCLIP = message("families.unclip", "an unCLIP model")
UPSCALER = message("families.upscaler", "an upscaler")


def supported() -> Message:
    """What to do about a model that cannot be trained."""
    return message(
        "families.supported", "Use a base model of one of these families: {families:, }.", families=list(FAMILIES)
    )
