"""Stable Diffusion 1 as the WebUI loads it (ldm's classes with the WebUI's text encoder around CLIP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from modules import devices, sd_hijack, sd_models, shared
from torch import Tensor

from tinv_ext.core.errors import HostError
from tinv_ext.core.latents import LatentDistribution
from tinv_ext.core.model import Words
from tinv_ext.core.noise import NoiseSchedule
from tinv_ext.core.prompts import Prompt, Tokenizer, equal_chunks
from tinv_ext.hosts.a1111.places import Movable
from tinv_ext.hosts.text import ClipTokenizer, emphasized, standing_in
from tinv_ext.hosts.vae import encoder_digest

ENCODER = "clip_l"
_PREDICTIONS = {"eps": "epsilon", "v": "v_prediction"}  # ldm/models/diffusion/ddpm.py, DDPM.parameterization
_HALF_SCALE = 1024.0  # gradients of the loss in float16 would fall below its smallest number


@dataclass(frozen=True)
class Sd1Lexicon:
    """Tokens and token vectors of the loaded model. `table` is CLIP's own, beneath the WebUI's."""

    tokenizer: Tokenizer
    table: torch.nn.Embedding

    @property
    def widths(self) -> Mapping[str, int]:
        return {ENCODER: int(self.table.embedding_dim)}

    def token_vectors(self, ids: Sequence[int]) -> dict[str, Tensor]:
        return {ENCODER: self.table.weight.detach()[list(ids)].float().cpu().clone()}


def lexicon(sd_model: Any) -> Sd1Lexicon:
    """The lexicon of a loaded SD1 model."""
    # v1.10.1 modules/sd_hijack_clip.py: cond_stage_model.wrapped is ldm's FrozenCLIPEmbedder (tokenizer, transformer);
    # modules/sd_hijack.py, EmbeddingsWithFixes.wrapped: the nn.Embedding
    clip = sd_model.cond_stage_model.wrapped
    table = _text_model(clip.transformer).embeddings.token_embedding.wrapped
    return Sd1Lexicon(ClipTokenizer(clip.tokenizer), table)


def _text_model(transformer: Any) -> Any:
    """transformers 4 keeps the layers one attribute deeper than transformers 5."""
    return getattr(transformer, "text_model", transformer)


class Sd1Model:
    """The loaded SD1 model as `core.model.Model`. Use it inside `A1111Host.training` only.

    Precision is the WebUI's own: its autocast is entered here, inside each function, and never held around a yield.
    """

    def __init__(self, sd_model: Any, words: Sd1Lexicon, clip_skip: int, known: Words, vae: Movable) -> None:
        self._sd_model = sd_model
        self._lexicon = words
        self._clip_skip = clip_skip
        self._known = known
        self._vae = vae
        self.noise = noise_schedule(sd_model)
        self.widths = words.widths
        self.tokenizer = words.tokenizer
        self.device = torch.device(devices.device)
        self.loss_scale = _HALF_SCALE if devices.dtype_unet == torch.float16 else 1.0

    @cached_property
    def vae_digest(self) -> str:
        return encoder_digest(self._sd_model.first_stage_model, self._sd_model.scale_factor)

    def token_vectors(self, ids: Sequence[int]) -> dict[str, Tensor]:
        return self._lexicon.token_vectors(ids)

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> LatentDistribution:
        self._vae.bring()
        vae = self._sd_model.first_stage_model
        posterior = vae.encode(pixels.to(self.device, next(vae.parameters()).dtype))
        scale = float(self._sd_model.scale_factor)
        return LatentDistribution(posterior.mean.float() * scale, posterior.std.float() * scale)

    def encode_prompts(self, prompts: Sequence[Prompt], words: Words) -> Tensor:
        """The text encoder's output (B, chunks·77, width), as the WebUI puts chunks together."""
        rows = [chunk for chunks in equal_chunks(prompts, self.tokenizer) for chunk in chunks]
        # modules/sd_hijack.py, EmbeddingsWithFixes: vectors that a broken-off encoding left behind would be put in here
        sd_hijack.model_hijack.fixes = None
        with devices.autocast(), standing_in(self._lexicon.table, rows, {**self._known, **words}):
            output = self._hidden(torch.tensor([row.ids for row in rows], device=self.device))
        output = emphasized(output, rows)
        return output.reshape(len(prompts), -1, output.shape[-1])

    def _hidden(self, ids: Tensor) -> Tensor:
        """The last hidden state, or with clip skip an earlier one through the same final LayerNorm.

        As v1.10.1 modules/sd_hijack_clip.py, encode_with_transformers.
        """
        transformer = self._sd_model.cond_stage_model.wrapped.transformer
        if self._clip_skip == 1:
            return transformer(input_ids=ids).last_hidden_state
        states = transformer(input_ids=ids, output_hidden_states=True).hidden_states
        return _text_model(transformer).final_layer_norm(states[-self._clip_skip])

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        self._vae.send_away()
        # v1.10.1 modules/sd_hijack_unet.py wraps apply_model: it brings a dict's tensors to the UNet's type and enters
        # the WebUI's autocast, so that training goes the way of a generation.
        return self._sd_model.apply_model(noisy, timesteps, {"c_crossattn": [condition]})


def noise_schedule(sd_model: Any) -> NoiseSchedule:
    """The model's own noise, whatever the last generation has put in its place.

    v1.10.1 modules/sd_models.py, apply_alpha_schedule_override: a generation may leave a coarser copy of it in
    `alphas_cumprod`; only the zero terminal SNR is a property of the model, and is followed.
    """
    kept = getattr(sd_model, "alphas_cumprod_original", sd_model.alphas_cumprod).detach().float()
    if shared.opts.sd_noise_schedule == "Zero Terminal SNR":
        kept = sd_models.rescale_zero_terminal_snr_abar(kept)
    if sd_model.parameterization not in _PREDICTIONS:
        raise HostError(
            f'The loaded model predicts "{sd_model.parameterization}"; only models that predict noise (eps) or '
            "velocity (v) can be trained. Load another."
        )
    return NoiseSchedule(kept, _PREDICTIONS[sd_model.parameterization])
