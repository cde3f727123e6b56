"""Which of the WebUI's models can be trained, told by class: an allow-list, since extensions bring their own."""

from __future__ import annotations

from typing import Any

from modules import shared

from tinv_ext.core.errors import HostError

# v1.10.1 repositories/stable-diffusion-stability-ai/ldm, and modules/sd_hijack_clip.py, which wraps the text encoder
_SD1 = ("ldm.models.diffusion.ddpm.LatentDiffusion", "modules.sd_hijack_clip.FrozenCLIPEmbedderWithCustomWords")
FAMILIES = {_SD1: "SD1"}
# flags that v1.10.1 modules/sd_models.py (set_model_type) gives every model
_FLAGS = (("is_sd3", "Stable Diffusion 3"), ("is_ssd", "SSD-1B"), ("is_sdxl", "SDXL"), ("is_sd2", "Stable Diffusion 2"))


def loaded_model() -> Any:
    """The model that the WebUI has loaded; loads it if the WebUI has not yet. Raises HostError."""
    sd_model = shared.sd_model  # v1.10.1 modules/shared_items.py: a property that loads on first use
    if sd_model is None:
        raise HostError("No checkpoint is loaded. Choose one at the top of the page and wait until it is loaded.")
    return sd_model


def family(sd_model: Any) -> str:
    """ "SD1" for a model that can be trained. Raises HostError for any other, saying what it is."""
    found = FAMILIES.get((class_name(sd_model), class_name(sd_model.cond_stage_model)))
    if found is None:
        raise HostError(f"The loaded model is {_said(sd_model)}; only SD1 can be trained so far. Load one of SD1.")
    key = sd_model.model.conditioning_key  # ldm/models/diffusion/ddpm.py, DiffusionWrapper
    if key != "crossattn":
        raise HostError(
            f'The loaded model wants more than a prompt ("{key}", as inpainting models do), and such models cannot be '
            "trained. Load the plain model that it was made from: the embedding works in both."
        )
    return found


def class_name(thing: Any) -> str:
    """The class with its module, as `ldm.models.autoencoder.AutoencoderKL`."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _said(sd_model: Any) -> str:
    known = next((said for flag, said in _FLAGS if getattr(sd_model, flag, False)), None)
    return known or f"a {class_name(sd_model)} with a {class_name(sd_model.cond_stage_model)}"
