"""The toy's variants: one that predicts v, one in SDXL's layout, and one of the wide world.

The first two share the toy's autoencoder. A file has the variant's UNet under "unet.", and for SDXL its text encoders
under "text." and "text_2."; of their token tables only the rows that captions use, as in the toy's own file. That of
the wide world has all that the toy's has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.toy import VARIANTS, model, parts, words

POOLED = 64
PAD_2 = 0  # what the second text encoder is padded with behind the first end, as OpenCLIP is
SIZE_WIDTH = 16  # of each of the six numbers of SDXL's size conditioning
TEXT: dict[str, Any] = {**parts.TEXT, "hidden_size": 48, "intermediate_size": 192, "num_hidden_layers": 3}
TEXT_2: dict[str, Any] = {
    **parts.TEXT,
    "num_hidden_layers": 3,
    "projection_dim": POOLED,
    "hidden_act": "gelu",
    "pad_token_id": PAD_2,
}
CONTEXT = TEXT["hidden_size"] + TEXT_2["hidden_size"]
UNET: dict[str, Any] = {
    **parts.UNET,
    "cross_attention_dim": CONTEXT,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": SIZE_WIDTH,
    "projection_class_embeddings_input_dim": POOLED + 6 * SIZE_WIDTH,
}


def file_of(variant: str) -> Path:
    """Where its weights are shipped."""
    return model.FILE.with_name(f"toy-{variant}.safetensors")


def metadata(variant: str) -> dict[str, str]:
    """How its weights were made, as `model.metadata` says of the toy's."""
    return model.read(file_of(variant))[1]


def unet(variant: str) -> UNet2DConditionModel:
    """Its UNet with fresh weights."""
    return UNet2DConditionModel(**UNET) if variant == "sdxl" else parts.unet()


def text_encoders() -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """SDXL's two text encoders with fresh weights, 48 and 64 wide, of three layers."""
    return CLIPTextModel(CLIPTextConfig(**TEXT)), CLIPTextModelWithProjection(CLIPTextConfig(**TEXT_2))


def scheduler(variant: str) -> DDIMScheduler:
    """The toy's noise schedule, and what the variant predicts of it."""
    prediction = "v_prediction" if variant == "v_prediction" else "epsilon"
    return DDIMScheduler(**{**parts.NOISE, "prediction_type": prediction})


def pipeline(variant: str, file: Path | None = None) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """A variant in fp32 on the CPU, ready to sample; 64×64 pixels. Raises InputError where it has no weights."""
    path = file or file_of(variant)
    if variant not in VARIANTS or not path.is_file():
        raise InputError(
            message(
                "toy.variant_missing",
                'There are no weights of the toy variant "{variant}" ({path}). Choose one of: {variants:, }.',
                variant=variant,
                path=path,
                variants=VARIANTS,
            )
        )
    if variant == "wide":
        return model.pipeline(path)
    base, (tensors, _) = model.pipeline(), model.read(path)
    made = unet(variant)
    model.fill(made, model.part(tensors, "unet."), "UNet")
    shared = {"vae": base.vae, "unet": made.eval().requires_grad_(False), "scheduler": scheduler(variant)}
    if variant == "sdxl":
        pipe = StableDiffusionXLPipeline(**shared, **_texts(tensors), add_watermarker=False)
    else:
        given: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipe = StableDiffusionPipeline(**shared, text_encoder=base.text_encoder, tokenizer=base.tokenizer, **given)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _texts(tensors: dict[str, Tensor]) -> dict[str, Any]:
    first, second = text_encoders()
    for encoder, prefix in ((first, "text."), (second, "text_2.")):
        held = model.part(tensors, prefix)
        held[model.TABLE] = model.whole_table(held.pop("rows"), held.pop("row_ids").long())
        model.fill(encoder, held, "text encoder")
        encoder.eval().requires_grad_(False)
    return {
        "text_encoder": first,
        "text_encoder_2": second,
        "tokenizer": words.new_tokenizer(),
        "tokenizer_2": CLIPTokenizer.from_pretrained(str(words.FOLDER), pad_token="!"),
    }
