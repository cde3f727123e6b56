"""The offline host: a diffusers pipeline of Stable Diffusion 1, for the command line, the tests, and as the reference.

Works with diffusers 0.30.3 / transformers 4.30.2 and with those of today.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.files import read_embedding
from tinv_ext.core.initial import unfit
from tinv_ext.core.latents import LatentDistribution
from tinv_ext.core.model import Model, Words
from tinv_ext.core.noise import NoiseSchedule
from tinv_ext.core.previews import PictureRequest
from tinv_ext.core.prompts import Prompt, PromptReader, Tokenizer, Word, equal_chunks
from tinv_ext.hosts.text import ClipTokenizer, emphasized, only, standing_in
from tinv_ext.hosts.vae import encoder_digest

log = logging.getLogger(__name__)
ENCODER = "clip_l"
_HALF_SCALE = 1024.0  # gradients of the loss in float16 would fall below its smallest number
_EMBEDDING_FILES = ("*.pt", "*.bin", "*.safetensors")


@dataclass(frozen=True)
class PipelineLexicon:
    """Tokens and token vectors of a pipeline."""

    tokenizer: Tokenizer
    table: torch.nn.Embedding

    @property
    def widths(self) -> Mapping[str, int]:
        return {ENCODER: int(self.table.embedding_dim)}

    def token_vectors(self, ids: Sequence[int]) -> dict[str, Tensor]:
        return {ENCODER: self.table.weight.detach()[list(ids)].float().clone()}


class PipelineModel:
    """Stable Diffusion 1 of a pipeline, as `core.model.Model`. Use it inside `DiffusersHost.training` only."""

    def __init__(self, pipeline: StableDiffusionPipeline, lexicon: PipelineLexicon, clip_skip: int, known: Words):
        self._pipeline = pipeline
        self._lexicon = lexicon
        self._clip_skip = clip_skip
        self._known = known
        config = pipeline.scheduler.config
        self.noise = NoiseSchedule(pipeline.scheduler.alphas_cumprod.float(), config.get("prediction_type", "epsilon"))
        self.widths = lexicon.widths
        self.tokenizer = lexicon.tokenizer
        self.device = pipeline.unet.device
        self.loss_scale = _HALF_SCALE if pipeline.unet.dtype == torch.float16 else 1.0

    @cached_property
    def vae_digest(self) -> str:
        return encoder_digest(self._pipeline.vae, self._pipeline.vae.config.scaling_factor)

    def token_vectors(self, ids: Sequence[int]) -> dict[str, Tensor]:
        return self._lexicon.token_vectors(ids)

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> LatentDistribution:
        vae = self._pipeline.vae
        latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
        scale = vae.config.scaling_factor
        return LatentDistribution(latents.mean.float() * scale, latents.std.float() * scale)

    def encode_prompts(self, prompts: Sequence[Prompt], words: Words) -> Tensor:
        """The text encoder's output (B, chunks·77, width), as AUTOMATIC1111 puts chunks together."""
        rows = [chunk for chunks in equal_chunks(prompts, self.tokenizer) for chunk in chunks]
        with standing_in(self._lexicon.table, rows, {**self._known, **words}):
            output = self._hidden(torch.tensor([row.ids for row in rows], device=self.device))
        output = emphasized(output, rows)
        return output.reshape(len(prompts), -1, output.shape[-1])

    def _hidden(self, ids: Tensor) -> Tensor:
        """The last hidden state, or with clip skip an earlier one through the same final LayerNorm."""
        encoder = self._pipeline.text_encoder
        if self._clip_skip == 1:
            return encoder(input_ids=ids)[0]
        states = encoder(input_ids=ids, output_hidden_states=True).hidden_states
        return getattr(encoder, "text_model", encoder).final_layer_norm(states[-self._clip_skip])

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        unet = self._pipeline.unet
        return unet(noisy.to(unet.dtype), timesteps, condition.to(unet.dtype), return_dict=False)[0]


class DiffusersHost:
    """A pipeline as `hosts.base.Host`; embeddings lie in `embeddings_folder`."""

    def __init__(self, pipeline: StableDiffusionPipeline, embeddings_folder: Path, facts: Mapping[str, str | None]):
        self._pipeline = pipeline
        self.embeddings_folder = embeddings_folder
        self.facts = facts
        self.lexicon = PipelineLexicon(ClipTokenizer(pipeline.tokenizer), pipeline.text_encoder.get_input_embeddings())
        self._embeddings: dict[str, Embedding] = {}
        self.refresh_embeddings()

    @classmethod
    def placed(
        cls,
        pipeline: StableDiffusionPipeline,
        embeddings_folder: Path,
        facts: Mapping[str, str | None],
        device: str = "auto",
        precision: str = "auto",
    ) -> DiffusersHost:
        """The pipeline on a device: "auto" takes CUDA in float16 if there is one, else the CPU in float32.

        The VAE stays in float32: in float16 that of SDXL overflows, and encoding happens once.
        """
        try:
            place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
            pipeline.to(place)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f'The device "{device}" cannot be used: {error}. Use auto or cpu.') from error
        half = "fp16" if place.type == "cuda" else "fp32"
        kind = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
        for part in (pipeline.unet, pipeline.text_encoder):
            part.to(kind[half if precision == "auto" else precision])
        pipeline.vae.to(torch.float32)
        return cls(pipeline, embeddings_folder, {"family": "SD1", **facts})

    @property
    def native_size(self) -> int:
        """Width and height in pixels that the model was made for."""
        return int(self._pipeline.unet.config.sample_size) * 8

    def refresh_embeddings(self) -> None:
        """Read the folder again; files that are no embedding or do not fit the model are logged and left out."""
        self._embeddings = {}
        for path in sorted(file for pattern in _EMBEDDING_FILES for file in self.embeddings_folder.glob(pattern)):
            try:
                embedding = read_embedding(path)
            except (FormatError, OSError) as error:
                log.warning("%s", error)
                continue
            problem = unfit(embedding, self.lexicon.widths)
            if problem:
                log.warning("%s", problem)
                continue
            self._embeddings[path.stem] = embedding

    def known_words(self) -> Sequence[Word]:
        return [self._word(name, embedding.count) for name, embedding in self._embeddings.items()]

    def _word(self, name: str, count: int) -> Word:
        return Word(name, tuple(self.lexicon.tokenizer.ids(name)), count)

    def _known_vectors(self) -> Words:
        return {name: item.vectors for name, item in self._embeddings.items()}

    def wanted(self) -> bool:
        return False

    def give_way(self) -> None:
        return None

    @contextmanager
    def training(self, clip_skip: int) -> Iterator[Model]:
        """All weights frozen and in evaluation mode; gradient flags and modes are put back on any exit."""
        parts = (self._pipeline.unet, self._pipeline.text_encoder, self._pipeline.vae)
        flags = [(weight, weight.requires_grad) for part in parts for weight in part.parameters()]
        modes = [(module, module.training) for part in parts for module in part.modules()]
        try:
            for part in parts:
                part.requires_grad_(False).eval()
            yield PipelineModel(self._pipeline, self.lexicon, clip_skip, self._known_vectors())
        finally:
            for weight, flag in flags:
                weight.requires_grad_(flag)
            for module, mode in modes:
                module.training = mode

    def draw(self, request: PictureRequest, words: Words) -> Image.Image:
        return self.draw_many([request], words)[0]

    def draw_many(self, requests: Sequence[PictureRequest], words: Words, clip_skip: int = 1) -> list[Image.Image]:
        """Pictures by the pipeline itself, their prompts encoded as in training (any length, brackets as emphasis).

        They may differ in prompts and seed only; each is the picture that it would be alone, but for rounding.
        """
        known = {**self._known_vectors(), **words}
        vocabulary = tuple(self._word(name, len(only(vectors))) for name, vectors in known.items())
        reader = PromptReader(self.lexicon.tokenizer, vocabulary, emphasis=True)
        model = PipelineModel(self._pipeline, self.lexicon, clip_skip, known)
        texts = [request.negative_prompt for request in requests] + [request.prompt for request in requests]
        with torch.no_grad():
            negative, positive = model.encode_prompts([reader.read(text) for text in texts], {}).chunk(2)
        first = requests[0]
        return self._sampler()(
            prompt_embeds=positive,
            negative_prompt_embeds=negative,
            num_inference_steps=first.steps,
            guidance_scale=first.cfg_scale,
            width=first.width,
            height=first.height,
            generator=[torch.Generator().manual_seed(request.seed) for request in requests],
        ).images

    def _sampler(self) -> StableDiffusionPipeline:
        parts = {**self._pipeline.components, "scheduler": DDIMScheduler.from_config(self._pipeline.scheduler.config)}
        pipeline = type(self._pipeline)(**parts, requires_safety_checker=False)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline
