"""Which of the WebUI's models are let in, told by class and flag, and the names of those that are not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.hosts.a1111.ldm_model import needs_ldm
from tests.messages import refused, said
from tinv_ext.core.errors import HostError

pytestmark = needs_ldm
DDPM = "ldm.models.diffusion.ddpm."
ENGINE, CONDITIONER = "sgm.models.diffusion.DiffusionEngine", "sgm.modules.encoders.modules.GeneralConditioner"
CLIP = "modules.sd_hijack_clip.FrozenCLIPEmbedderWithCustomWords"
OPEN_CLIP = "modules.sd_hijack_open_clip.FrozenOpenCLIPEmbedderWithCustomWords"
OPEN_CLIP_2 = "modules.sd_hijack_open_clip.FrozenOpenCLIPEmbedder2WithCustomWords"


def thing(name: str, **values: Any) -> Any:
    """An object of a class of that name."""
    module, _, last = name.rpartition(".")
    made = type(last, (), {"__module__": module})()
    vars(made).update(values)
    return made


def model(name: str, text: str, key: str = "crossattn", scaling: str = "EpsScaling", **flags: bool) -> Any:
    """A loaded model as far as its kind goes."""
    denoiser = SimpleNamespace(scaling=thing(f"sgm.modules.diffusionmodules.denoiser_scaling.{scaling}"))
    inner = SimpleNamespace(conditioning_key=key)
    return thing(name, cond_stage_model=thing(text), model=inner, denoiser=denoiser, **flags)


@pytest.fixture
def family(webui: Any) -> Any:
    """The function, beside the stand-in."""
    from tinv_ext.hosts.a1111.model_type import family_of

    return family_of


@pytest.mark.parametrize(
    ("loaded", "name"),
    [
        (model(DDPM + "LatentDiffusion", CLIP), "SD1"),
        (model(DDPM + "LatentDiffusion", OPEN_CLIP), "SD2"),
        (model(DDPM + "LatentInpaintDiffusion", CLIP, "hybrid"), "SD1"),
        (model(DDPM + "LatentInpaintDiffusion", OPEN_CLIP, "hybrid"), "SD2"),
        (model(ENGINE, CONDITIONER, is_sdxl=True), "SDXL"),
        (model(ENGINE, CONDITIONER, scaling="VScaling", is_sdxl=True), "SDXL"),
    ],
    ids=["SD1", "SD2", "SD1 inpainting", "SD2 inpainting", "SDXL", "SDXL v"],
)
def test_the_families_are_let_in(family: Any, loaded: Any, name: str) -> None:
    """By the classes that v1.10.1 gives them."""
    assert family(loaded).name == name


@pytest.mark.parametrize(
    ("loaded", "type_id", "values"),
    [
        (model(ENGINE, OPEN_CLIP_2, is_sdxl=True), "families.refiner", {}),
        (model(ENGINE, CONDITIONER, is_sdxl=True, is_sdxl_inpaint=True), "families.sdxl_inpainting", {}),
        (model(ENGINE, CONDITIONER, is_sdxl=True, is_ssd=True), "families.ssd_1b", {}),
        (model(ENGINE, CONDITIONER, scaling="EDMScaling", is_sdxl=True), "families.sdxl_edm", {}),
        (
            model(ENGINE, OPEN_CLIP, is_sdxl=True),
            "hosts.type_unknown",
            {"model_class": ENGINE, "text_class": OPEN_CLIP},
        ),
        (model(DDPM + "LatentDepth2ImageDiffusion", OPEN_CLIP, "hybrid"), "families.depth", {}),
        (model("modules.models.diffusion.ddpm_edit.LatentDiffusion", CLIP, "hybrid"), "families.instruct_pix2pix", {}),
        (model(DDPM + "ImageEmbeddingConditionedLatentDiffusion", OPEN_CLIP, "crossattn-adm"), "families.unclip", {}),
        (model("modules.models.sd3.sd3_model.SD3Inferencer", "modules.models.sd3.x"), "families.sd3", {}),
        (
            model(DDPM + "LatentDiffusion", "modules.sd_hijack_xlmr.X"),
            "hosts.type_unknown",
            {"model_class": DDPM + "LatentDiffusion", "text_class": "modules.sd_hijack_xlmr.X"},
        ),
        (model(DDPM + "LatentDiffusion", CLIP, "hybrid"), "hosts.type_more_inputs", {"key": "hybrid"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_others_are_called_by_their_names(family: Any, loaded: Any, type_id: str, values: dict[str, str]) -> None:
    """With what to load instead."""
    with refused("hosts.model_cannot_be_trained", HostError) as caught:
        family(loaded)
    assert said([caught.value.problems[0].values["type"]], type_id, **values)
