"""A training step as the textual inversion scripts of diffusers and kohya take it, as plain loops over the same model.

Written from what the scripts do (diffusers examples/textual_inversion/textual_inversion.py, sd-scripts
train_textual_inversion.py); none of their code is here. Both freeze the UNet and train the whole token table of each
text encoder with AdamW, whose other rows are put back after every step. Where they differ is a `Way`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor

from bench.sides import Work, sampled, schedule_of
from tinv_ext.core.data.dataset import Batch
from tinv_ext.core.prompts.inputs import padded_ids
from tinv_ext.core.training.objective import Objective
from tinv_ext.hosts.diffusers.pipelines import parts_of, text_encoders, texts_of

PLACEHOLDER = 49405
"""The row of the new word: the scripts add one to the table, which takes as long as one that is there."""
WORD_RATE = 5e-4


@dataclass(frozen=True)
class Way:
    """In what the scripts differ, with the options that their documentation gives.

    `clips`: the gradient of the whole table. `autocasts`: the UNet is called under autocast too, not only the text
    encoders, whose weights stay in float32.
    """

    caches_latents: bool
    recomputes: bool
    clips: bool
    autocasts: bool


WAYS = {
    "diffusers": Way(caches_latents=False, recomputes=False, clips=False, autocasts=False),
    "kohya": Way(caches_latents=True, recomputes=False, clips=True, autocasts=True),
    "kohya, recomputing": Way(caches_latents=True, recomputes=True, clips=True, autocasts=True),
}


class Script:
    """A side (see bench/sides.py) that works in one of these ways."""

    def __init__(self, it: Work, way: Way) -> None:
        self._it, self._way = it, way
        self._unet, self._vae = it.pipeline.unet, it.pipeline.vae
        self._dtype, self._device = self._unet.dtype, self._unet.device
        for part in parts_of(it.pipeline):
            part.requires_grad_(False).eval()
        for encoder in texts_of(it.pipeline):
            encoder.float()
        self._unet.set_attn_processor(AttnProcessor2_0())
        if way.recomputes:
            self._unet.train()
            self._unet.enable_gradient_checkpointing()
        self._encoders = text_encoders(it.pipeline, 1)
        self._tables = [encoder.table.weight.requires_grad_() for encoder in self._encoders]
        with torch.no_grad():
            for encoder, table in zip(self._encoders, self._tables):
                table[PLACEHOLDER] = it.vectors[encoder.key][0]
        self._before = [table.detach().clone() for table in self._tables]
        self._others = torch.ones(len(self._tables[0]), dtype=torch.bool, device=self._device)
        self._others[PLACEHOLDER] = False
        self._optimizer = torch.optim.AdamW(self._tables, lr=WORD_RATE, weight_decay=0.01)
        self._scaler = torch.cuda.amp.GradScaler() if self._dtype == torch.float16 else None
        if not way.caches_latents:
            self._vae.to(self._dtype)
            height, width = (8 * side for side in it.dataset.examples[0].latent.mean.shape[-2:])
            rng = torch.Generator().manual_seed(5)
            self._pixels = torch.rand(it.batch_size, 3, height, width, generator=rng).mul(2).sub(1)

    def gradient(self) -> Tensor:
        """The loss's gradient on the word's first vectors, as `sides.Ours.gradient`."""
        batch, noise, timesteps = sampled(self._it)
        loss = self._loss(batch, batch.latents, noise, timesteps)
        (loss * 1024 if self._scaler else loss).backward()  # type: ignore[no-untyped-call]
        found = self._tables[0].grad
        assert found is not None  # backward has just been called
        self._optimizer.zero_grad()
        return found[PLACEHOLDER : PLACEHOLDER + 1].float().cpu() / (1024 if self._scaler else 1)

    def steps(self, stack: ExitStack) -> Callable[[], Any]:
        """A function that takes the next step."""
        it = self._it

        def step() -> None:
            batch = it.dataset.batch(it.batch_size, it.state.order, it.state.rng)
            latents = batch.latents if self._way.caches_latents else self._encoded()
            noise, timesteps = Objective().sample(batch.latents, schedule_of(it), it.state.rng)
            self._update(self._loss(batch, latents, noise, timesteps))

        return step

    @torch.no_grad()
    def _encoded(self) -> Tensor:
        """Pixels through the VAE, as these scripts do at every step."""
        found = self._vae.encode(self._pixels.to(self._device, self._dtype)).latent_dist.sample()
        return found * self._vae.config.scaling_factor

    def _loss(self, batch: Batch, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        latents, noise, timesteps = (part.to(self._device) for part in (latents, noise, timesteps))
        noisy = self._it.pipeline.scheduler.add_noise(latents.float(), noise, timesteps).to(self._dtype)
        half = self._dtype != torch.float32
        autocast = torch.autocast(self._device.type, self._dtype) if half else nullcontext()
        with autocast:
            context, added = self._condition(batch)
        with autocast if self._way.autocasts else nullcontext():
            answer = self._unet(noisy, timesteps, context.to(self._dtype), added_cond_kwargs=added).sample
        return F.mse_loss(answer.float(), noise)

    def _condition(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor] | None]:
        rows = [prompt.chunks[0] for prompt in batch.prompts]
        states, pooled = [], None
        for encoder in self._encoders:
            ids = padded_ids(rows, encoder.pad)
            for row, chunk in enumerate(rows):
                for place, _ in chunk.words:
                    ids[row, place] = PLACEHOLDER
            state, pooled = encoder.encode(ids.to(self._device))
            states.append(state)
        if pooled is None:
            return torch.cat(states, -1), None
        sizes = torch.tensor([size.numbers for size in batch.size_conds], dtype=torch.float32, device=self._device)
        return torch.cat(states, -1), {"text_embeds": pooled.to(self._dtype), "time_ids": sizes}

    def _update(self, loss: Tensor) -> None:
        """Backward, AdamW over the whole tables, and all rows but the word's as they were."""
        if self._scaler:
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self._scaler.unscale_(self._optimizer)
        else:
            loss.backward()  # type: ignore[no-untyped-call]
        if self._way.clips:
            torch.nn.utils.clip_grad_norm_(self._tables, 1.0)
        if self._scaler:
            self._scaler.step(self._optimizer)
            self._scaler.update()
        else:
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for table, before in zip(self._tables, self._before):
                table[self._others] = before[self._others]
