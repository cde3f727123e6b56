"""The steps that are timed against each other, each with the same images, prompts, noise and timesteps.

- ours: `tinv_ext.core.training.trainer.train` on the offline host, as a run calls it.
- built-in: the semantics of AUTOMATIC1111 v1.10.1 `modules/textual_inversion/textual_inversion.py`. Its UNet is not
  frozen, so each backward pass computes the gradient of every weight and adds it to the sum of all steps before; ldm's
  ResBlocks and transformer blocks always recompute their activations (`use_checkpoint: True` in v1-inference.yaml);
  attention is plain (`training_xattention_optimizations` is off by default); the text encoder is frozen.
- bare: an unmodified diffusers UNet with its own checkpointing and attention, all weights with gradients, no text
  encoder, no optimizer. The built-in's side must not be much slower than this.
- the scripts of diffusers and kohya: bench/scripts.py.
- frozen: an unmodified diffusers UNet, frozen, nothing recomputed: what freezing alone gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from torch import Tensor

from tinv_ext.core.data.captions import CaptionRules
from tinv_ext.core.data.dataset import Batch, Dataset, Example
from tinv_ext.core.data.image_fit import uncropped
from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.data.order import Order
from tinv_ext.core.data.subsets import Subset
from tinv_ext.core.model import Model
from tinv_ext.core.noise import NoiseSchedule
from tinv_ext.core.prompts.inputs import padded_ids, word_slots
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.training.forward import denoising_losses
from tinv_ext.core.training.objective import Objective
from tinv_ext.core.training.schedules import parse_schedule
from tinv_ext.core.training.state import State, new_state
from tinv_ext.core.training.trainer import Plan, train
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.hosts.diffusers.pipelines import text_encoders
from tinv_ext.hosts.prompt_vectors import inject_vectors

WORD = "zworble"
FOREVER = 10**9
CAPTIONS = ("a red ball on grass", "in the rain", "painted by night", "two of them beside a tree")


@dataclass(frozen=True)
class Work:
    """What every side is given: the pipeline, the dataset, the batch size, and a state of its own."""

    pipeline: DiffusionPipeline
    host: DiffusersHost
    dataset: Dataset
    batch_size: int
    state: State

    @property
    def vectors(self) -> Mapping[str, Tensor]:
        """The word's vectors, (1, d), by encoder."""
        return self.state.vectors[WORD]

    @property
    def leaf(self) -> Tensor:
        """Those of the first encoder."""
        return next(iter(self.vectors.values()))


def work(pipeline: DiffusionPipeline, size: int, batch_size: int) -> Work:
    """Four images of `size` × `size` pixels, as latents of random numbers."""
    host = DiffusersHost(pipeline, Path("no-embeddings"), {})
    word = Word(WORD, tuple(host.token_table.tokenizer.ids(WORD)), 1)
    rng = torch.Generator().manual_seed(1)
    shape = (4, size // 8, size // 8)
    latents = [LatentDistribution(torch.randn(shape, generator=rng), torch.full(shape, 0.1)) for _ in CAPTIONS]
    subset = Subset(("a photo of [name], [filewords]",), CaptionRules(WORD))
    examples = [
        Example(f"{i}.png", latent, caption, uncropped(size, size), subset)
        for i, (latent, caption) in enumerate(zip(latents, CAPTIONS))
    ]
    reader = PromptReader(host.token_table.tokenizer, (word,))
    dataset = Dataset(examples, reader, "once", 0)
    vectors = {key: 0.05 * torch.randn(1, width, generator=rng) for key, width in host.token_table.widths.items()}
    return Work(pipeline, host, dataset, batch_size, new_state({WORD: vectors}, 2, pipeline.unet.device))


def sampled(it: Work, seed: int = 3) -> tuple[Batch, Tensor, Tensor]:
    """The same batch, noise and timesteps for every side."""
    rng = torch.Generator().manual_seed(seed)
    batch = it.dataset.batch(it.batch_size, Order(), rng)
    noise, timesteps = Objective().sample(batch.latents, schedule_of(it), rng)
    return batch, noise, timesteps


def schedule_of(it: Work) -> NoiseSchedule:
    """The model's noise schedule."""
    return NoiseSchedule(it.pipeline.scheduler.alphas_cumprod.float())


class Ours:
    """Our step and, with the same frozen UNet outside of training, a plain one."""

    def __init__(self, it: Work) -> None:
        self._it = it

    def gradient(self) -> Tensor:
        """The loss's gradient on the vectors, for the batch, noise and timesteps that all sides share."""
        with self._it.host.training(1) as model:
            batch, noise, timesteps = sampled(self._it)
            loss = denoising_losses(model, batch, self._it.state.vectors, noise, timesteps).mean()
            (loss * model.loss_scale).backward()
        return _taken(self._it.leaf) / model.loss_scale

    def steps(
        self, stack: ExitStack, accumulate: int = 1, use: Callable[[Model], None] = lambda model: None
    ) -> Callable[[], Any]:
        """A function that takes the next step; the host is in training until `stack` closes.

        `use` is given the model before.
        """
        model = stack.enter_context(self._it.host.training(1))
        use(model)
        plan = Plan(FOREVER, self._it.batch_size, accumulate, parse_schedule("0.005").at)
        going = stack.enter_context(closing(train(self._it.state, plan, model, self._it.dataset)))
        return lambda: next(going)

    def frozen(self, stack: ExitStack) -> Callable[[], Any]:
        """The plain loop over a frozen UNet."""
        unet = self._it.pipeline.unet.requires_grad_(False).eval()
        unet.set_attn_processor(AttnProcessor2_0())
        return _bare_loop(self._it)


class BuiltIn:
    """The built-in's step and, with the same unfrozen UNet, a bare one."""

    def __init__(self, it: Work) -> None:
        self._it = it
        it.pipeline.unet.requires_grad_(True).train()  # diffusers 0.30 recomputes in training mode only; no dropout
        it.pipeline.unet.enable_gradient_checkpointing()
        it.pipeline.text_encoder.requires_grad_(False).eval()
        it.pipeline.unet.set_attn_processor(AttnProcessor())

    def gradient(self) -> Tensor:
        """As `Ours.gradient`."""
        scale = self._backward(*sampled(self._it))
        return _taken(self._it.leaf) / scale

    def steps(self, stack: ExitStack) -> Callable[[], Any]:
        """A function that takes the next step."""
        it = self._it
        it.pipeline.unet.set_attn_processor(AttnProcessor())

        def step() -> None:
            batch = it.dataset.batch(it.batch_size, it.state.order, it.state.rng)
            noise, timesteps = Objective().sample(batch.latents, schedule_of(it), it.state.rng)
            scale = self._backward(batch, noise, timesteps)
            it.leaf.grad.div_(scale)
            it.state.update(0.005)  # clears the vectors' gradient; those of the UNet's weights keep adding up

        return step

    def bare(self, stack: ExitStack) -> Callable[[], Any]:
        """The bare loop, with diffusers' own attention."""
        self._it.pipeline.unet.set_attn_processor(AttnProcessor2_0())
        return _bare_loop(self._it)

    def _backward(self, batch: Batch, noise: Tensor, timesteps: Tensor) -> float:
        """One forward and backward pass; the scale that the loss was multiplied by."""
        it, unet = self._it, self._it.pipeline.unet
        latents, noise, timesteps = (part.to(unet.device) for part in (batch.latents, noise, timesteps))
        rows = [prompt.chunks[0] for prompt in batch.prompts]
        (encoder,) = text_encoders(it.pipeline, 1)
        ids = padded_ids(rows, encoder.pad).to(unet.device)
        slots = word_slots(rows, {WORD: len(it.leaf)}).to(unet.device)
        with inject_vectors(encoder.table, slots, [it.leaf]):
            condition = it.pipeline.text_encoder(ids)[0]
        noisy = it.pipeline.scheduler.add_noise(latents, noise, timesteps)
        answer = unet(noisy.to(unet.dtype), timesteps, condition.to(unet.dtype)).sample
        scale = _scale(unet.dtype)
        (F.mse_loss(answer.float(), noise) * scale).backward()
        return scale


def _scale(dtype: torch.dtype) -> float:
    return 1024.0 if dtype == torch.float16 else 1.0


def _bare_loop(it: Work) -> Callable[[], Any]:
    """Forward and backward of the UNet alone, on a context that wants a gradient."""
    unet = it.pipeline.unet
    batch, noise, timesteps = sampled(it)
    noisy, noise = batch.latents.to(unet.device, unet.dtype), noise.to(unet.device)
    width = it.pipeline.text_encoder.config.hidden_size
    context = torch.randn(len(noisy), 77, width, generator=torch.Generator().manual_seed(4))
    context = context.to(unet.device, unet.dtype).requires_grad_()

    def step() -> None:
        answer = unet(noisy, timesteps.to(unet.device), context).sample
        (F.mse_loss(answer.float(), noise) * _scale(unet.dtype)).backward()
        context.grad = None

    return step


def _taken(leaf: Tensor) -> Tensor:
    gradient, leaf.grad = leaf.grad, None
    assert gradient is not None  # backward has just been called
    return gradient.float().cpu()
