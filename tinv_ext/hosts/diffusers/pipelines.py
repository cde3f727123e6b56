"""The diffusers pipelines that can be trained: how they encode text, and how they generate images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    SchedulerMixin,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image
from torch import Tensor

from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.families import FAMILIES, encoder_of_width, supported
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.messages import message
from tinv_ext.hosts.prompt_vectors import ClipTokenizer, ClipTokenTable, Condition, TextEncoder

Encode = Callable[[Tensor], tuple[Tensor, "Tensor | None"]]
SAMPLERS: dict[str, type[SchedulerMixin]] = {  # by the WebUI's names
    "DDIM": DDIMScheduler,
    "Euler": EulerDiscreteScheduler,
    "Euler a": EulerAncestralDiscreteScheduler,
    "DPM++ 2M": DPMSolverMultistepScheduler,
}
_GRAY = (127, 127, 127)


def prediction_of(pipeline: DiffusionPipeline) -> str:
    """What the UNet predicts, as its scheduler says."""
    return str(pipeline.scheduler.config.get("prediction_type", "epsilon"))


def family_of(pipeline: DiffusionPipeline) -> str:
    """ "SD1", "SD2" or "SDXL". Raises InputError for a pipeline that cannot be trained."""
    if isinstance(pipeline, StableDiffusionXLPipeline) and pipeline.text_encoder is not None:
        return "SDXL"
    if isinstance(pipeline, (StableDiffusionPipeline, StableDiffusionInpaintPipeline)):
        # OpenAI's CLIP has quick_gelu in its text encoder, OpenCLIP's ViT-H of SD2 the exact one
        return "SD2" if pipeline.text_encoder.config.hidden_act == "gelu" else "SD1"
    raise InputError(
        message(
            "hosts.pipeline_cannot_be_trained",
            "A {pipeline} cannot be trained. {remedy}",
            pipeline=type(pipeline).__name__,
            remedy=supported(),
        )
    )


def token_table_of(pipeline: DiffusionPipeline) -> ClipTokenTable:
    """The tokens, which all encoders share, and each encoder's token vectors."""
    tables = {encoder.key: encoder.table for encoder in text_encoders(pipeline, 1)}
    return ClipTokenTable(ClipTokenizer(pipeline.tokenizer), tables)


def parts_of(pipeline: DiffusionPipeline) -> list[torch.nn.Module]:
    """All models of the pipeline: UNet, text encoders, VAE."""
    return [pipeline.unet, *texts_of(pipeline), pipeline.vae]


def texts_of(pipeline: DiffusionPipeline) -> list[torch.nn.Module]:
    """The text encoders, one or two."""
    second = getattr(pipeline, "text_encoder_2", None)
    return [pipeline.text_encoder] if second is None else [pipeline.text_encoder, second]


def text_encoders(pipeline: DiffusionPipeline, clip_skip: int) -> list[TextEncoder]:
    """The text encoders, each with the layer that the WebUI takes; clip skip counts where the family says so.

    v1.10.1 modules/sd_hijack_clip.py and sd_hijack_open_clip.py: SD2's and SDXL's layer is fixed by their config.
    """
    family = family_of(pipeline)
    first, pad = pipeline.text_encoder, int(pipeline.tokenizer.pad_token_id)
    if family == "SDXL":
        second, pad_2 = pipeline.text_encoder_2, int(pipeline.tokenizer_2.pad_token_id)
        return [
            TextEncoder("clip_l", first.get_input_embeddings(), pad, partial(_penultimate, first)),
            TextEncoder("clip_g", second.get_input_embeddings(), pad_2, partial(_penultimate_and_pooled, second)),
        ]
    table = first.get_input_embeddings()
    encode: Encode = partial(_last, first, clip_skip if FAMILIES[family].clip_skip else 1)
    return [TextEncoder(encoder_of_width(table.embedding_dim), table, pad, encode)]


def _last(encoder: Any, clip_skip: int, ids: Tensor) -> tuple[Tensor, None]:
    """The last hidden states, or with clip skip earlier ones through the same final LayerNorm."""
    if clip_skip == 1:
        return encoder(input_ids=ids)[0], None
    states = encoder(input_ids=ids, output_hidden_states=True).hidden_states
    return getattr(encoder, "text_model", encoder).final_layer_norm(states[-clip_skip]), None


def _penultimate(encoder: Any, ids: Tensor) -> tuple[Tensor, None]:
    """The hidden states before the last layer, without the final LayerNorm (Podell et al. 2023)."""
    return encoder(input_ids=ids, output_hidden_states=True).hidden_states[-2], None


def _penultimate_and_pooled(encoder: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Also the projected last state of the end token."""
    output = encoder(input_ids=ids, output_hidden_states=True)
    return output.hidden_states[-2], output.text_embeds


def added_to_unet(condition: Condition) -> dict[str, Tensor] | None:
    """What SDXL's UNet takes beside the context: `added_cond_kwargs`."""
    if condition.pooled is None or condition.sizes is None:
        return None
    return {"text_embeds": condition.pooled, "time_ids": condition.sizes}


def generate(pipeline: DiffusionPipeline, requests: Sequence[ImageRequest], condition: Condition) -> list[Image.Image]:
    """One image per request; `condition` has all negative prompts, then all prompts. Raises HostError for the sampler.

    The requests differ in prompts and seed only.
    """
    first = requests[0]
    if first.sampler not in SAMPLERS:
        raise HostError(
            message(
                "hosts.no_such_sampler",
                'There is no sampling method "{sampler}" here. Choose one of: {samplers:, }.',
                sampler=first.sampler,
                samplers=list(SAMPLERS),
            )
        )
    negative, positive = condition.context.chunk(2)
    arguments: dict[str, Any] = {"prompt_embeds": positive, "negative_prompt_embeds": negative}
    if condition.pooled is not None:
        pooled = condition.pooled.chunk(2)
        arguments |= {"pooled_prompt_embeds": pooled[1], "negative_pooled_prompt_embeds": pooled[0]}
    if isinstance(pipeline, StableDiffusionInpaintPipeline):  # everything is to be painted
        size = (first.width, first.height)
        images, masks = [Image.new("RGB", size, _GRAY)], [Image.new("L", size, 255)]
        arguments |= {"image": images * len(requests), "mask_image": masks * len(requests), "strength": 1.0}
    generators = [torch.Generator().manual_seed(request.seed) for request in requests]
    with casting_inputs(pipeline.vae):
        generated: list[Image.Image] = _with_scheduler(pipeline, SAMPLERS[first.sampler])(
            **arguments,
            num_inference_steps=first.steps,
            guidance_scale=first.cfg_scale,
            width=first.width,
            height=first.height,
            generator=generators,
            latents=_initial_noise(pipeline, first, generators).to(positive),
        ).images
    return generated


def _initial_noise(pipeline: DiffusionPipeline, size: ImageRequest, generators: Sequence[torch.Generator]) -> Tensor:
    """What images begin with, (n, 4, h, w) float32, so that a seed gives the same one in every precision.

    diffusers samples it in the UNet's type; up to torch 2.11 that is another stream of numbers in half precision.
    """
    scale = int(pipeline.vae_scale_factor)
    shape = (1, int(pipeline.vae.config.latent_channels), size.height // scale, size.width // scale)
    return torch.cat([torch.randn(shape, generator=generator) for generator in generators])


@contextmanager
def casting_inputs(vae: Any) -> Iterator[None]:
    """While open, a float32 VAE casts what a half-precision UNet gives it; diffusers passes it on uncast."""
    dtype = next(vae.parameters()).dtype

    def cast(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(value.to(dtype) for value in inputs)

    handles = [first.register_forward_pre_hook(cast) for first in (vae.encoder, vae.post_quant_conv)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def without_empty(condition: Condition, texts: Sequence[str]) -> Condition:
    """Zeros for empty negative prompts of SDXL, as in the WebUI and in diffusers; the first half is negative."""
    if condition.pooled is None:
        return condition
    negative = len(texts) // 2
    mask = torch.tensor([bool(text) or index >= negative for index, text in enumerate(texts)])
    mask = mask.to(condition.context.device, condition.context.dtype).unsqueeze(1)
    return Condition(condition.context * mask.unsqueeze(2), condition.pooled * mask, condition.sizes)


def _with_scheduler(pipeline: DiffusionPipeline, scheduler: type[SchedulerMixin]) -> DiffusionPipeline:
    """The same models in another pipeline, silent and without watermark."""
    parts = {**pipeline.components, "scheduler": scheduler.from_config(pipeline.scheduler.config)}
    quiet = {"add_watermarker": False} if family_of(pipeline) == "SDXL" else {"requires_safety_checker": False}
    other = type(pipeline)(**parts, **quiet)
    other.set_progress_bar_config(disable=True)
    return other
