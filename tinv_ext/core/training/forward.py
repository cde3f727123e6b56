"""One forward pass in two halves: assembled on the CPU, computed on the device.

`assemble` turns a batch and what was sampled for it into tensors whose shapes depend on the batch's shape alone;
`compute` is arithmetic on tensors: it reads no value back to Python and moves nothing between devices, so it can be
captured, compiled or run by several processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tinv_ext.core.data.dataset import Batch
from tinv_ext.core.data.image_fit import SizeConditioning
from tinv_ext.core.model import Condition, Denoiser, PromptEncoder, Words
from tinv_ext.core.prompts.inputs import PromptInputs
from tinv_ext.core.prompts.reader import Prompt
from tinv_ext.core.training.objective import Objective
from tinv_ext.core.training.transfer import to_device


@dataclass(frozen=True)
class StepInputs:
    """A batch as tensors: latents and noise (B, C, h, w), timesteps (B,) int64, prompts.

    Weights are by pixel (B, 1, h, w) or by example (B,); None where all count alike. `input_noise` (B, C, h, w) is what
    the UNet is given, where that is not the noise that it is to find. `probe` (B, C, h, w) is standard normal, for an
    optimizer that measures with it how large the curvature is.

    Where there are negative prompts, `prompts` has 2·B, these last, and the UNet's answer is guided by `cfg_scale`.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    prompts: PromptInputs
    pixel_weights: Tensor | None = None
    example_weights: Tensor | None = None
    timestep_weights: Tensor | None = None
    input_noise: Tensor | None = None
    probe: Tensor | None = None
    cfg_scale: float = 1.0

    @property
    def weights(self) -> tuple[Tensor | None, ...]:
        """All weights of losses."""
        return (self.pixel_weights, self.example_weights, self.timestep_weights)


def assemble(model: PromptEncoder, batch: Batch, words: Words, *sampled: Tensor | None) -> StepInputs:
    """The batch as tensors on the model's device, moved there together. `words` are those that are trained.

    `sampled` are noise and timesteps and, perhaps, weights by timestep, input noise and probe, as in `StepInputs`.
    """
    noise, timesteps, timestep_weights, input_noise, probe = (*sampled, None, None, None)[:5]
    assert noise is not None
    assert timesteps is not None
    sizes = batch.size_conds * (2 if batch.negatives else 1)
    prompts = model.assemble_prompts(batch.prompts + batch.negatives, words, sizes)
    inputs = StepInputs(
        batch.latents,
        noise,
        timesteps,
        prompts,
        batch.pixel_weights,
        batch.example_weights,
        timestep_weights,
        input_noise,
        probe,
        batch.cfg_scale,
    )
    return to_device(inputs, model.device)


def compute(model: Denoiser, inputs: StepInputs, words: Words, objective: Objective) -> Tensor:
    """The loss of each example (B,) float32, differentiable in the vectors of `words`."""
    prediction, target = predict(model, inputs, words, objective)
    return objective.losses(prediction, target, objective.schedule(model.noise), inputs.timesteps, *inputs.weights)


def predict(model: Denoiser, inputs: StepInputs, words: Words, objective: Objective) -> tuple[Tensor, Tensor]:
    """The UNet's answer and what would have been the right one, both (B, C, h, w)."""
    condition = model.encode(inputs.prompts, words)
    schedule = objective.schedule(model.noise)
    added = inputs.noise if inputs.input_noise is None else inputs.input_noise
    noisy, timesteps = schedule.add(inputs.latents, added, inputs.timesteps), inputs.timesteps
    if inputs.prompts.prompts == len(noisy):
        prediction = model.denoise(noisy, timesteps, condition)
    else:  # as an image is generated: from the answer to the negative prompt towards that to the prompt
        both = model.denoise(torch.cat([noisy, noisy]), torch.cat([timesteps, timesteps]), condition)
        positive, negative = both.chunk(2)
        prediction = negative + inputs.cfg_scale * (positive - negative)
    return prediction, schedule.target(inputs.latents, inputs.noise, inputs.timesteps)


def denoising_losses(
    model: Denoiser, batch: Batch, words: Words, noise: Tensor, timesteps: Tensor, objective: Objective | None = None
) -> Tensor:
    """Both halves: the loss of each example (B,) for the noise and timesteps given."""
    return compute(model, assemble(model, batch, words, noise, timesteps), words, objective or Objective())


def encode_prompts(
    model: PromptEncoder, prompts: Sequence[Prompt], words: Words, size_conds: Sequence[SizeConditioning]
) -> Condition:
    """What the UNet is given for a batch of prompts; differentiable in the vectors of `words`."""
    return model.encode(to_device(model.assemble_prompts(prompts, words, size_conds), model.device), words)
