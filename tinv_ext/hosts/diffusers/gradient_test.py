"""The gradient of one small step: with it a precision is compared with float32, before a run relies on it.

The step is small (128 × 128 pixels), so that float32 can compute it on the CPU, with the weights that were just read
for it and are converted afterwards: the card never holds the model twice. What spoils a precision is weights and
activations beyond its range, and rounding in layers of this width and depth; a pixel more or less changes neither. What
only a large image would show, the steps of the run notice by themselves (`core/training/fallbacks.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from tinv_ext.core.data.dataset import Batch
from tinv_ext.core.data.image_fit import uncropped
from tinv_ext.core.families import VAE_FACTOR
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.training.forward import denoising_losses
from tinv_ext.hosts.diffusers.model import PipelineModel
from tinv_ext.hosts.diffusers.pipelines import parts_of, token_table_of
from tinv_ext.hosts.freezing import frozen

LEAST = 0.999
"""The cosine of a gradient to float32's that a precision must reach, in each text encoder."""
_SIDE = 16  # of a latent
_PARTS = 3  # images of the step, and as many timesteps: of the middles of the first, second and last third
_TIMED = 2  # times: what else is going on makes a step slower, never faster
_PROMPT = "a photo of a {}"
_NAME = "thing"  # an ordinary word, whose own vectors the step has a gradient for

Gradient = Mapping[str, Tensor]  # by encoder: (n, width) float32 on the CPU


@dataclass(frozen=True)
class SmallStep:
    """The gradient of the small step and, if asked for, the least of the processor's time for taking it again."""

    gradient: Gradient
    seconds: float = math.nan


def small_step(pipeline: DiffusionPipeline, timed: bool = False) -> SmallStep:
    """Take the step on the pipeline as it is placed. It leaves everything as it was, random generators too.

    A gradient that is not finite with the usual loss scale is computed with the smaller one, as a run would.
    """
    table = token_table_of(pipeline)
    word = Word(_NAME, tuple(table.tokenizer.ids(_NAME)), 1)
    prompt = PromptReader(table.tokenizer, (word,)).read(_PROMPT.format(_NAME))
    with frozen(*parts_of(pipeline)), torch.enable_grad():
        model = PipelineModel(pipeline, table, 1, {})
        vectors = {key: one[:1].to(model.device) for key, one in table.token_vectors(word.ids).items()}
        rng = torch.Generator().manual_seed(0)
        side = min(_SIDE, int(pipeline.unet.config.sample_size))
        latents, noise = (torch.randn(_PARTS, 4, side, side, generator=rng) for _ in range(2))
        sizes = (uncropped(side * VAE_FACTOR, side * VAE_FACTOR),) * _PARTS
        batch = Batch(latents, (prompt,) * _PARTS, sizes)
        timesteps = ((torch.arange(_PARTS) + 0.5) * (model.noise.timesteps / _PARTS)).long()

        def taken() -> Gradient:
            leaves = {key: one.clone().requires_grad_() for key, one in vectors.items()}
            loss = denoising_losses(model, batch, {_NAME: leaves}, noise, timesteps).mean()
            found = torch.autograd.grad(loss * model.loss_scale, list(leaves.values()))
            return {key: one.float().cpu() / model.loss_scale for key, one in zip(leaves, found)}

        gradient = taken()
        if not _finite(gradient) and model.loss_scale > 1:
            model.upcast()  # to the smaller loss scale, not yet to float32
            gradient = taken()
        if not timed:
            return SmallStep(gradient)
        return SmallStep(gradient, min(_seconds(taken) for _ in range(_TIMED)))


def _seconds(act: Callable[[], object]) -> float:
    begun = time.process_time()
    act()
    return time.process_time() - begun


def cosine(one: Gradient, other: Gradient) -> float:
    """The least of all encoders; NaN where a gradient is not finite, or is none at all."""
    if not (_finite(one) and _finite(other)):
        return math.nan
    return min(_cosine(one[key].double().flatten(), other[key].double().flatten()) for key in other)


def _cosine(one: Tensor, other: Tensor) -> float:
    lengths = torch.linalg.vector_norm(one) * torch.linalg.vector_norm(other)
    return float(one @ other / lengths)  # NaN where one of them is 0


def _finite(gradient: Gradient) -> bool:
    return all(bool(torch.isfinite(one).all()) for one in gradient.values())
