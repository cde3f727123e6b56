"""The gradient of a step is that of a plain reference which shares no code with the engine.

The reference is textual inversion as diffusers and transformers would do it: the vocabulary gets new rows for the word,
the prompt is tokenized with the word as added tokens, the whole table has gradients, attention is plain products of
matrices, and diffusers' own scheduler adds the noise.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from tests.paths import CLIP_TOKENIZER
from tinv_ext.core.data.dataset import Batch
from tinv_ext.core.data.image_fit import uncropped
from tinv_ext.core.data.order import Order
from tinv_ext.core.noise import Noise
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.training.objective import Objective
from tinv_ext.core.training.schedules import parse_schedule
from tinv_ext.core.training.state import new_state
from tinv_ext.core.training.trainer import Plan, train
from tinv_ext.hosts.diffusers.host import DiffusersHost

WORD = "zworble"
TOKENS = [f"<{WORD}-{index}>" for index in range(3)]
CLIP_FILES = CLIP_TOKENIZER
EXACT = 1e-5  # relative difference of two float32 computations of the same gradient
TELLS = 1e-3  # what a difference in the task must at least make
SHORT = (f"a photo of {WORD}", f"{WORD} under a tree at night", f"the red {WORD} , painted", f"two cats and a {WORD}")


@dataclass(frozen=True)
class Task:
    """One step: texts, the word's vectors (n, d), latents and noise (B, 4, 8, 8), timesteps (B,)."""

    texts: tuple[str, ...]
    vectors: Tensor
    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    clip_skip: int = 1


def task(texts: Sequence[str], vectors: int, clip_skip: int = 1) -> Task:
    """A task with draws of its own."""
    rng = torch.Generator().manual_seed(7)
    shape = (len(texts), 4, 8, 8)
    return Task(
        tuple(texts),
        torch.randn(vectors, 32, generator=rng),
        torch.randn(shape, generator=rng),
        torch.randn(shape, generator=rng),
        torch.randint(1000, (len(texts),), generator=rng),
        clip_skip,
    )


# --- ours: what the optimizer is given by `train` -------------------------------------------------------------------


@dataclass(frozen=True)
class Given(Objective):
    """The objective of every run, but noise and timesteps are the task's, in order."""

    draws: Iterator[tuple[Tensor, Tensor]] | None = None

    def sample(self, latents: Tensor, noise: Noise, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        assert self.draws is not None
        return next(self.draws)


@dataclass
class Prepared:
    """A dataset that hands out the task's examples in order."""

    task: Task
    reader: PromptReader
    given: int = 0

    def batch(self, size: int, order: Order, rng: torch.Generator, steps_done: int = 0) -> Batch:
        part = slice(self.given, self.given + size)
        self.given += size
        prompts = tuple(self.reader.read(text) for text in self.task.texts[part])
        return Batch(self.task.latents[part], prompts, (uncropped(64, 64),) * len(prompts), None)


def our_gradient(pipeline: StableDiffusionPipeline, it: Task, accumulate: int = 1) -> Tensor:
    """The gradient (n, d) that the optimizer sees when `train` takes one step on the task's draws."""
    host = DiffusersHost(pipeline, Path("no-such-folder"), {})
    tokenizer = host.token_table.tokenizer
    reader = PromptReader(tokenizer, (Word(WORD, tuple(tokenizer.ids(WORD)), len(it.vectors)),))
    size = len(it.texts) // accumulate
    draws = iter(zip(it.noise.split(size), it.timesteps.split(size)))
    state = new_state({WORD: {"clip_l": it.vectors}}, 0, torch.device("cpu"))
    seen: list[Tensor] = []
    state.optimizer.register_step_pre_hook(lambda *_: seen.append(state.vectors[WORD]["clip_l"].grad.clone()))
    plan = Plan(1, size, accumulate, parse_schedule("0.01").at, objective=Given(draws=draws))
    with host.training(it.clip_skip) as model:
        list(train(state, plan, model, Prepared(it, reader)))  # type: ignore[arg-type]
    (gradient,) = seen
    return gradient


# --- the reference --------------------------------------------------------------------------------------------------


@cache
def grown_tokenizer() -> Any:
    """CLIP's tokenizer that knows the new tokens."""
    tokenizer = CLIPTokenizer.from_pretrained(str(CLIP_FILES), local_files_only=True)
    tokenizer.add_tokens(TOKENS)
    return tokenizer


def grown_encoder(pipeline: StableDiffusionPipeline, vectors: Tensor, layers_less: int) -> CLIPTextModel:
    """The text encoder with a row more for each vector and `layers_less` layers cut off at the end."""
    config = copy.deepcopy(pipeline.text_encoder.config)
    config._attn_implementation = "eager"
    config.num_hidden_layers -= layers_less
    config.vocab_size += len(vectors)
    encoder = CLIPTextModel(config).eval()
    known = pipeline.text_encoder.state_dict()
    weights = {name: known[name] for name in encoder.state_dict()}
    (table,) = (name for name in weights if name.endswith("token_embedding.weight"))
    weights[table] = torch.cat([weights[table], vectors])  # new ids are counted on from the last
    encoder.load_state_dict(weights)
    return encoder


def encode(encoder: CLIPTextModel, texts: Sequence[str]) -> Tensor:
    """Conditions (B, 77·chunks, d): ids cut into pieces of 75 by hand, each encoded alone, laid end to end."""
    ids = [grown_tokenizer()(text, add_special_tokens=False, truncation=False).input_ids for text in texts]
    chunks = max(-(-len(row) // 75) for row in ids)
    outputs = []
    for start in range(0, 75 * chunks, 75):
        pieces = [row[start : start + 75] for row in ids]
        rows = [[49406, *piece, *[49407] * (76 - len(piece))] for piece in pieces]
        outputs.append(encoder(torch.tensor(rows))[0])
    return torch.cat(outputs, 1)


def reference_gradient(pipeline: StableDiffusionPipeline, it: Task) -> Tensor:
    """The gradient (n, d) of the word's rows among all rows of the vocabulary."""
    count = len(it.vectors)
    encoder = grown_encoder(pipeline, it.vectors, it.clip_skip - 1)
    unet = copy.deepcopy(pipeline.unet)
    unet.set_attn_processor(AttnProcessor())
    condition = encode(encoder, [text.replace(WORD, " ".join(TOKENS[:count])) for text in it.texts])
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    noisy = scheduler.add_noise(it.latents, it.noise, it.timesteps)
    F.mse_loss(unet(noisy, it.timesteps, condition).sample, it.noise).backward()
    return encoder.get_input_embeddings().weight.grad[-count:]


def difference(one: Tensor, other: Tensor) -> float:
    """Length of the difference, relative to the second's length."""
    return float((one - other).norm() / other.norm())


# --- the rules ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vectors, clip_skip", [(1, 1), (3, 1), (3, 2)])
def test_the_gradient_of_a_step_is_the_references(
    tiny_pipeline: StableDiffusionPipeline, vectors: int, clip_skip: int
) -> None:
    """Whole-vocabulary autograd through transformers, math attention and diffusers' noise give our gradient."""
    it = task(SHORT, vectors, clip_skip)
    assert difference(our_gradient(tiny_pipeline, it), reference_gradient(tiny_pipeline, it)) <= EXACT


@pytest.mark.parametrize(
    "change",
    [
        {"texts": (SHORT[0].replace("photo", "picture"), *SHORT[1:])},
        {"texts": (SHORT[1], SHORT[0], *SHORT[2:])},
        {"clip_skip": 2},
    ],
    ids=["one token", "captions exchanged", "clip skip"],
)
def test_the_comparison_tells_another_prompt(tiny_pipeline: StableDiffusionPipeline, change: dict[str, Any]) -> None:
    """With one caption token, the captions' order or the clip skip changed, the two gradients differ."""
    it = task(SHORT, 2)
    other = reference_gradient(tiny_pipeline, replace(it, **change))
    assert difference(our_gradient(tiny_pipeline, it), other) > TELLS


def test_the_comparison_tells_another_timestep(tiny_pipeline: StableDiffusionPipeline) -> None:
    """With one timestep of four off by one, of a thousand, the two gradients differ."""
    it = task(SHORT, 2)
    later = it.timesteps.clone()
    later[2] = (later[2] + 1) % 1000
    other = reference_gradient(tiny_pipeline, replace(it, timesteps=later))
    assert difference(our_gradient(tiny_pipeline, it), other) > TELLS


def test_two_micro_batches_give_the_gradient_of_their_union(tiny_pipeline: StableDiffusionPipeline) -> None:
    """Twice two examples are once four, and four times one, on the same draws."""
    it = task(SHORT, 2)
    union = our_gradient(tiny_pipeline, it)
    assert difference(our_gradient(tiny_pipeline, it, accumulate=2), union) <= EXACT
    assert difference(our_gradient(tiny_pipeline, it, accumulate=4), union) <= EXACT


def long_texts() -> list[str]:
    """Two prompts over 75 tokens without commas, the word in the first chunk and in the second, and a short one."""
    words = ["red", "green", "blue", "white", "black", "small", "large", "old", "new", "round"]
    filler = [words[index % 10] for index in range(120)]
    return [
        " ".join([WORD, *filler[:100]]),
        " ".join([*filler[3:93], WORD, "again", WORD]),
        f"a photo of {WORD}",
    ]


def test_prompts_beyond_one_chunk_are_chunks_laid_end_to_end(tiny_pipeline: StableDiffusionPipeline) -> None:
    """Ids cut by hand after 75 tokens, each piece encoded alone, shorter prompts filled up with an empty piece."""
    it = task(long_texts(), 3)
    ours = our_gradient(tiny_pipeline, it)
    assert difference(ours, reference_gradient(tiny_pipeline, it)) <= EXACT
    cut_off = replace(it, texts=tuple(" ".join(text.split()[:70]) for text in it.texts))
    assert difference(ours, reference_gradient(tiny_pipeline, cut_off)) > TELLS


def test_only_the_vectors_get_gradients(tiny_pipeline: StableDiffusionPipeline) -> None:
    """No weight of UNet, text encoder or VAE has a gradient after a step, though all of them want one outside."""
    parts = (tiny_pipeline.unet, tiny_pipeline.text_encoder, tiny_pipeline.vae)
    weights = [weight for part in parts for weight in part.parameters()]
    assert all(weight.requires_grad for weight in weights)
    gradient = our_gradient(tiny_pipeline, task(SHORT, 2))
    assert bool(gradient.abs().sum() > 0)
    assert all(weight.grad is None for weight in weights)


def test_no_backward_runs_through_what_comes_before_the_first_cross_attention(
    tiny_pipeline: StableDiffusionPipeline,
) -> None:
    """The first convolution and ResBlock see nothing that has a gradient, so nothing of them is kept or computed."""
    needed: list[bool] = []
    unet = tiny_pipeline.unet
    parts = (unet.conv_in, unet.down_blocks[0].resnets[0], unet.up_blocks[-1].resnets[0])
    handles = [part.register_forward_hook(lambda _, __, output: needed.append(output.requires_grad)) for part in parts]
    try:
        our_gradient(tiny_pipeline, task(SHORT, 1))
    finally:
        for handle in handles:
            handle.remove()
    assert needed == [False, False, True]
