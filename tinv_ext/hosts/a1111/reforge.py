"""reForge and Classic, as a `Variant`: A1111's shell around ComfyUI's models, which lie in patchers as Forge's do.

Facts are from Panchovix/stable-diffusion-webui-reForge 3b56b268 (March 2026) and Haoming02/sd-webui-forge-classic
1f95d717 (February 2025). ldm's and sgm's objects are empty there but for their text encoders; UNet, VAE and what loads
them onto the device are in `sd_model.forge_objects` (modules_forge/forge_loader.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from ldm_patched.ldm.modules import attention
from ldm_patched.modules import model_management
from modules import scripts, sd_hijack, shared
from modules_forge.forge_util import apply_circular_forge
from torch import Tensor

from tinv_ext.core.messages import Message
from tinv_ext.core.model import Words
from tinv_ext.core.noise import NoiseSchedule
from tinv_ext.hosts.a1111.encoders import text_encoders, text_tables, token_table
from tinv_ext.hosts.a1111.noise import trained_prediction, zero_terminal_snr
from tinv_ext.hosts.a1111.variant import Session
from tinv_ext.hosts.freezing import weights_in_float32
from tinv_ext.hosts.patchers import patches
from tinv_ext.hosts.patchers.backend import Backend, Numbers
from tinv_ext.hosts.patchers.model import PatcherModel
from tinv_ext.hosts.patchers.session import session as patcher_session
from tinv_ext.hosts.webui.program import may_record_graphs

# ldm_patched/modules/model_sampling.py: bases of the class of `model_sampling`; the first of them counts
_PREDICTIONS = {"EPS": "epsilon", "V_PREDICTION": "v_prediction", "EDM": "edm", "CONST": "const", "X0": "x0"}
_DISCRETE = "ModelSamplingDiscrete"


@contextmanager
def session(sd_model: Any, clip_skip: int, known: Words) -> Iterator[Session]:
    """As Forge's: the program's memory manager loads the original patchers, without LoRA."""
    with ExitStack() as stack:
        stack.enter_context(restored_after_image(sd_model))
        apply_circular_forge(sd_model, False)
        tables = text_tables(sd_model)
        parts = stack.enter_context(patcher_session(sd_model, _backend(), dtypes(sd_model)[0], tables))
        undo = stack.enter_context(ExitStack())
        sd_hijack.model_hijack.fixes = (
            None  # EmbeddingsWithFixes would insert what an encoding that broke off left here
        )
        encoders = text_encoders(sd_model, clip_skip)
        model = PatcherModel(parts, _numbers(sd_model), token_table(sd_model), encoders, known, undo)

        def after_image() -> None:
            parts.forget()
            _forget_fixes()

        yield Session(model, before_image=parts.make_room, after_image=after_image)


def _forget_fixes() -> None:
    """modules/sd_hijack.py, EmbeddingsWithFixes: it would insert what an encoding that broke off has left."""
    sd_hijack.model_hijack.fixes = None


def _backend() -> Backend:
    own = attention.attention_pytorch
    return Backend(model_management, attention, "optimized_attention", own, may_record_graphs(shared.cmd_opts))


def _numbers(sd_model: Any) -> Numbers:
    k_model = sd_model.forge_objects_original.unet.model
    return Numbers(
        noise_schedule(sd_model),
        float(k_model.model_config.latent_format.scale_factor),
        lambda size: _embedded(sd_model, size),
        lambda: dtypes(sd_model)[0],
        lambda: _computing_in_float32(k_model),
    )


def _embedded(sd_model: Any, size: Tensor) -> Tensor:
    """sgm's embedding of one number; all of SDXL's are embedded alike."""
    embedders = {embedder.input_key: embedder for embedder in sd_model.conditioner.embedders}
    vector: Tensor = embedders["original_size_as_tuple"](size[:, None])
    return vector


@contextmanager
def _computing_in_float32(k_model: Any) -> Iterator[None]:
    before = k_model.manual_cast_dtype
    try:
        with weights_in_float32(k_model):
            k_model.manual_cast_dtype = torch.float32
            yield
    finally:
        k_model.manual_cast_dtype = before


def noise_schedule(sd_model: Any) -> NoiseSchedule:
    """The UNet's own noise schedule, with zero terminal SNR where the settings or the checkpoint ask for it.

    modules/processing.py, process_images_inner: that is put into `model_sampling` for each image, and taken out again.
    """
    sigmas = sd_model.forge_objects_original.unet.model.model_sampling.sigmas.detach().float()
    alphas_cumprod = 1 / (sigmas**2 + 1)
    if shared.opts.sd_noise_schedule == "Zero Terminal SNR" or getattr(sd_model, "ztsnr", False):
        alphas_cumprod = zero_terminal_snr(alphas_cumprod)
    return NoiseSchedule(alphas_cumprod, trained_prediction(prediction(sd_model)))


def prediction(sd_model: Any) -> str:
    """What the UNet predicts, by our names; by the program's where it cannot be trained."""
    names = [base.__name__ for base in type(sd_model.forge_objects_original.unet.model.model_sampling).__mro__]
    if _DISCRETE not in names:
        return names[1]
    return next((_PREDICTIONS[name] for name in names if name in _PREDICTIONS), names[-2])


@contextmanager
def restored_after_image(sd_model: Any) -> Iterator[None]:
    """Tiling: an image turns it on or off, and leaves it so."""
    before = sd_model.tiling_enabled
    try:
        yield
    finally:
        apply_circular_forge(sd_model, before)


def image_scripts() -> Any:
    """modules/processing.py asks for the scripts of an image without looking whether there are any."""
    return scripts.ScriptRunner()


def dtypes(sd_model: Any) -> tuple[torch.dtype, torch.dtype]:
    """In which types UNet and VAE compute: ldm_patched/modules/model_base.py, _apply_model."""
    objects = sd_model.forge_objects_original
    unet = objects.unet.model
    return unet.manual_cast_dtype or unet.get_dtype(), objects.vae.vae_dtype


def attention_name() -> str:
    """The function that the program has chosen at its start."""
    return patches.attention_name(_backend())


def lora_notes(sd_model: Any) -> list[Message]:
    """What becomes of the LoRA that the last image has left in the patchers."""
    return patches.lora_notes(sd_model)
