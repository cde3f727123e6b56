"""A model of a few lines, a word, and pictures of four numbers a channel: all that the laws of training need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from tinv_ext.core.data.captions import CaptionRules
from tinv_ext.core.data.dataset import Dataset, Example
from tinv_ext.core.data.image_fit import SizeConditioning, uncropped
from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.data.subsets import Subset
from tinv_ext.core.embedding import count_vectors
from tinv_ext.core.model import Words
from tinv_ext.core.noise import NoiseSchedule, scaled_linear
from tinv_ext.core.prompts.inputs import PromptInputs, padded_ids, word_slots
from tinv_ext.core.prompts.reader import Prompt, PromptReader, Word
from tinv_ext.core.training.state import State, new_state

WIDTH = 6
LINES = ("a photo of [name], [filewords]", "[name]")
SUBSET = Subset(LINES, CaptionRules("it"))


@dataclass(frozen=True)
class Letters:
    """A tokenizer: one id for each word of a text."""

    start: int = 1
    end: int = 2
    comma: int = 3

    def ids(self, text: str) -> list[int]:
        return [3 if word == "," else 10 + sum(map(ord, word)) % 900 for word in text.replace(",", " , ").split()]

    def spellings(self, ids: Sequence[int]) -> list[str]:
        return [str(token) for token in ids]


@dataclass
class Fake:
    """A model: its condition is made of vectors and token ids, its answer is a smooth function of all that it gets."""

    noise: NoiseSchedule = field(default_factory=lambda: NoiseSchedule(scaled_linear()))
    loss_scale: float = 1.0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    poison_at: int | None = None
    calls: int = 0
    most: int | None = None  # pictures that there is memory for
    recomputes: int = 0
    can_offload: bool = False
    offloads: int = 0
    remedies: list[str] = field(default_factory=list)  # what more_precise says in turn
    counts: dict[str, int] = field(default_factory=dict)  # vectors of each word

    def release_memory(self) -> None:
        return None

    def enable_gradient_checkpointing(self) -> None:
        self.recomputes += 1

    def offload_weights(self) -> bool:
        self.offloads += 1
        self.most = None if self.can_offload else self.most
        return self.can_offload

    def upcast(self) -> str | None:
        return self.remedies.pop(0) if self.remedies else None

    def assemble_prompts(
        self, prompts: Sequence[Prompt], words: Words, size_conds: Sequence[SizeConditioning]
    ) -> PromptInputs:
        assert len(size_conds) == len(prompts)
        rows = [prompt.chunks[0] for prompt in prompts]
        counts = self.counts = {name: count_vectors(vectors) for name, vectors in words.items()}
        sizes = torch.tensor([size.numbers for size in size_conds], dtype=torch.float32)
        return PromptInputs(len(prompts), {"clip_l": padded_ids(rows, 2)}, word_slots(rows, counts), {}, None, sizes)

    def encode(self, inputs: PromptInputs, words: Words) -> Tensor:
        rows = inputs.ids["clip_l"].sum(1, keepdim=True) % 97 / 97.0  # (B, 1)
        # (1, WIDTH), or (B, WIDTH) where each prompt has vectors of its own
        sums = [word["clip_l"].view(-1, self.counts[name], WIDTH).sum(1) for name, word in words.items()]
        return torch.tanh(torch.stack(sums).sum(0) * (1 + rows))  # (B, WIDTH)

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        self.calls += 1
        if self.most is not None and len(noisy) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 8.09 GiB")
        level = (timesteps.float() / 1000).view(-1, 1, 1, 1)
        answer = 0.3 * noisy + level * condition[:, :4].view(-1, 4, 1, 1) + condition[:, 4:].prod(1).view(-1, 1, 1, 1)
        return answer * float("nan") if self.calls == self.poison_at else answer


def examples(count: int = 5, weights: Tensor | None = None) -> list[Example]:
    """Pictures with latents (4, 2, 2) and captions."""
    rng = torch.Generator().manual_seed(11)
    return [
        Example(
            f"{index}.png",
            LatentDistribution(torch.randn(4, 2, 2, generator=rng), torch.rand(4, 2, 2, generator=rng)),
            f"blue, number {index}",
            uncropped(16, 16),
            SUBSET,
            weights,
        )
        for index in range(count)
    ]


def dataset(pictures: Sequence[Example] | None = None, sampling: str = "random", **rules: Any) -> Dataset:
    """A dataset with two template lines."""
    reader = PromptReader(Letters(), (Word("it", tuple(Letters().ids("it")), 2),))
    subset = Subset(LINES, CaptionRules("it", **rules))
    return Dataset([replace(one, subset=subset) for one in pictures or examples()], reader, sampling, 3)


def both_words() -> Dataset:
    """A dataset in whose prompts "it", of two vectors, and "b", of one, stand."""
    words = tuple(Word(name, tuple(Letters().ids(name)), count) for name, count in (("it", 2), ("b", 1)))
    subset = Subset(tuple(f"{line} b" for line in LINES), CaptionRules("it"))
    return Dataset([replace(one, subset=subset) for one in examples()], PromptReader(Letters(), words), "random", 3)


def initial(seed: int = 5) -> State:
    """The word "it" of two vectors, sampled at each call but always the same."""
    vectors = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(1)) * 0.1
    return new_state({"it": {"clip_l": vectors}}, seed, torch.device("cpu"))
