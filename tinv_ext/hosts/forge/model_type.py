"""Which model is loaded, loading the chosen one where the program has not yet; and whether it can be trained."""

from __future__ import annotations

from typing import Any

from modules import sd_models

from tinv_ext.core import families
from tinv_ext.core.errors import HostError
from tinv_ext.core.families import SD1, SD2, SDXL, Family
from tinv_ext.core.messages import Message, message
from tinv_ext.hosts.vae import INPAINTING, input_channels
from tinv_ext.hosts.webui.loaded_model import cannot_be_trained, none_loaded

# An allow-list, since new engines come with every version: backend/diffusion_engine/*.py by module and class.
_ENGINES = "backend.diffusion_engine."
_FAMILIES = {
    "sd15.StableDiffusion": SD1,
    "sd20.StableDiffusion2": SD2,
    "sdxl.StableDiffusionXL": SDXL,
}
_OTHERS = {
    "sdxl.StableDiffusionXLRefiner": families.REFINER,
    "sd35.StableDiffusion3": families.SD3,
    "flux.Flux": families.FLUX,
}
# huggingface_guess/model_list.py: models that share SDXL's engine, but not its UNet
_SMALLER_SDXL = ("SSD1B", "Segmind_Vega", "KOALA_700M", "KOALA_1B")
# backend/modules/k_prediction.py, AbstractPrediction.prediction_type
PREDICTIONS = ("epsilon", "v_prediction")
_OTHER_PREDICTIONS = {"edm": families.SDXL_EDM, "const": families.RECTIFIED_FLOW}


def chosen_parameters() -> str:
    """What the page has chosen: checkpoint, VAE and text encoder files, precision. The next image loads it."""
    return str(sd_models.model_data.forge_loading_parameters)


def loaded_parameters() -> str:
    """What is loaded, as `chosen_parameters` writes it; "" before anything is (modules/sd_models.py, SdModelData)."""
    return str(sd_models.model_data.forge_hash)


def load_chosen() -> Any:
    """The chosen model, loaded if it is not yet. Hold the queue where that may be. Raises HostError.

    modules/sd_models.py, forge_model_reload: it loads the first time that an image is made, and so do we.
    """
    if not sd_models.model_data.forge_loading_parameters.get("checkpoint_info"):
        raise none_loaded()
    sd_models.forge_model_reload()
    return loaded_model()


def loaded_model() -> Any:
    """The loaded model. Raises HostError where there is none."""
    engine = sd_models.model_data.sd_model
    if engine is None or not hasattr(engine, "forge_objects"):  # FakeInitialModel
        raise none_loaded()
    return engine


def family_of(engine: Any) -> Family:
    """The family of a model that can be trained. Raises HostError for any other, saying what it is."""
    family, other = _FAMILIES.get(_name(engine)), _other_type(engine)
    if family is None or other is not None:
        raise cannot_be_trained(
            other or message("hosts.type_named", 'of another kind ("{name}")', name=type(engine).__name__)
        )
    return family


def refuse_quantized(engine: Any) -> None:
    """Raise HostError for weights in 4 bits or of a gguf file: their gradients are not proven.

    Their kernels take packed numbers apart by themselves: backend/operations_bnb.py, ForgeParams4bit (bitsandbytes'
    Params4bit, with `quant_state`); backend/operations_gguf.py, ParameterGGUF. Weights in fp8 are ordinary ones.
    """
    objects = engine.forge_objects_original
    for module in (objects.unet.model, objects.clip.cond_stage_model):
        for weight in module.parameters():
            if getattr(weight, "gguf_cls", None) is not None:
                raise HostError(_quantized("gguf"))
            if hasattr(weight, "quant_state"):
                raise HostError(_quantized(str(getattr(weight, "quant_type", "nf4"))))


def _quantized(kind: str) -> Message:
    return message(
        "hosts.weights_are_quantized",
        'The weights of the loaded model are quantized ("{kind}"), which cannot be trained through. Choose "Automatic" '
        'in "Diffusion in Low Bits", or load a checkpoint that is not quantized.',
        kind=kind,
    )


def _other_type(engine: Any) -> Message | None:
    """What a model is that cannot be trained, though its engine may be that of one that can; None if it can."""
    if _name(engine) not in _FAMILIES:
        return _OTHERS.get(_name(engine))
    if type(engine.model_config).__name__ in _SMALLER_SDXL:
        return families.SMALLER_SDXL
    k_model = engine.forge_objects_original.unet.model
    prediction = getattr(k_model.predictor, "prediction_type", "")
    if prediction not in PREDICTIONS:
        return _OTHER_PREDICTIONS.get(prediction) or message(
            "hosts.type_prediction", 'one that predicts "{prediction}"', prediction=prediction or "?"
        )
    channels = input_channels(k_model.diffusion_model)
    if channels == SD1.latent_channels:
        return None
    if _FAMILIES[_name(engine)] is SDXL:
        return families.SDXL_INPAINTING
    return None if channels == INPAINTING else families.INSTRUCT_PIX2PIX


def _name(engine: Any) -> str:
    return f"{type(engine).__module__}.{type(engine).__qualname__}".removeprefix(_ENGINES)
