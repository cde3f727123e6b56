"""The gradient of each example in the vectors, from one backward pass.

Each example is given vectors of its own, equal to those that are trained: copies laid one behind the other, and the
places in its prompt point to its own. The gradient of the sum of all losses in the copies is then that of each loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tinv_ext.core.embedding import count_vectors
from tinv_ext.core.model import Denoiser, Words
from tinv_ext.core.prompts.inputs import PromptInputs, repeated
from tinv_ext.core.training.forward import StepInputs, predict
from tinv_ext.core.training.objective import Objective
from tinv_ext.core.training.optimizers import TakesSamples


def separated(inputs: PromptInputs, words: Words) -> tuple[PromptInputs, dict[str, dict[str, Tensor]]]:
    """Inputs in which each of the B prompts has vectors of its own, and those: (B·n, width) leaves for each (n, width).

    Rows of a word's copies are those of the first prompt, then of the second, and so on.
    """
    inputs = repeated(inputs)
    count, slots = inputs.prompts, inputs.slots
    prompt = torch.arange(len(slots), device=slots.device).unsqueeze(1) // (len(slots) // count)
    moved, first = slots, 1
    for vectors in words.values():
        rows = count_vectors(vectors)
        own = (slots >= first) & (slots < first + rows)
        moved = torch.where(own, slots + (count - 1) * (first - 1) + prompt * rows, moved)
        first += rows
    moved = torch.where(slots >= first, slots + (count - 1) * (first - 1), moved)  # the words that are not trained
    copies = {
        name: {encoder: leaf.detach().repeat(count, 1).requires_grad_() for encoder, leaf in vectors.items()}
        for name, vectors in words.items()
    }
    return replace(inputs, slots=moved), copies


def add_sample_gradients(
    model: Denoiser, inputs: StepInputs, words: Words, objective: Objective, share: float, optimizer: TakesSamples
) -> Tensor:
    """Backward of one forward pass: the gradient of each example's ½·Σ residual² goes to `optimizer`.

    Returns the losses (B,). The mean gradient, times `share` and the model's loss scale, is added to the vectors', as
    it is for other optimizers. An example whose loss or gradient is not finite is left out; its loss is NaN then.
    """
    prompts, copies = separated(inputs.prompts, words)
    inputs = replace(inputs, prompts=prompts)
    leaves = [copy for vectors in copies.values() for copy in vectors.values()]
    prediction, target = predict(model, inputs, copies, objective)
    schedule, probes = objective.schedule(model.noise), None
    scale = share * model.loss_scale
    likelihood = inputs.latents[0].numel() / 2 / scale  # makes a loss, as it is scaled for backward, ½·Σ residual²
    if inputs.probe is not None:
        probed = objective.probed(prediction, target, schedule, inputs.timesteps, inputs.probe, *inputs.weights)
        slopes = torch.autograd.grad(probed.sum() / likelihood, leaves, retain_graph=True)
        probes = _by_example(slopes, len(probed), prompts.prompts)
    losses = objective.losses(prediction, target, schedule, inputs.timesteps, *inputs.weights)
    gradients = _by_example(torch.autograd.grad(losses.sum() * scale, leaves), len(losses), prompts.prompts)
    losses = losses.detach()
    finite = torch.stack([losses, *(part.flatten(1).sum(1) for part in gradients)]).isfinite().all(0)
    gradients = _without(gradients, ~finite)
    for leaf, part in zip((leaf for vectors in words.values() for leaf in vectors.values()), gradients):
        leaf.grad = part.sum(0) if leaf.grad is None else leaf.grad + part.sum(0)
    in_likelihood = [part * likelihood for part in gradients]
    optimizer.add(in_likelihood, probes and [part * likelihood for part in _without(probes, ~finite)])
    return torch.where(finite, losses, torch.full_like(losses, float("nan")))


def _by_example(gradients: Sequence[Tensor], count: int, prompts: int) -> list[Tensor]:
    """Gradients (count, n, width); an example that has a negative prompt, too, has those of both."""
    by_prompt = [part.view(prompts, -1, part.shape[-1]) for part in gradients]
    if prompts == count:
        return by_prompt
    return [part.view(-1, count, *part.shape[1:]).sum(0) for part in by_prompt]


def _without(gradients: Sequence[Tensor], left_out: Tensor) -> list[Tensor]:
    """Zeros in place of the examples `left_out` (B,)."""
    return [part.masked_fill(left_out.view(-1, 1, 1), 0.0) for part in gradients]
