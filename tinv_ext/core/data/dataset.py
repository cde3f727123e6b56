"""Examples and the batches drawn from them: each visit draws a template line, a caption and a sample of the latent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tinv_ext.core.data.captions import CaptionRules, draw_line, expand, vary
from tinv_ext.core.data.images import SizeConditioning
from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.prompts.reader import Prompt, PromptReader
from tinv_ext.core.training.state import State


@dataclass(frozen=True)
class Example:
    """A picture's latent (4, h, w) with its caption; `weights` (1, h, w) averages 1 over the picture."""

    name: str
    latent: LatentDistribution
    caption: str
    size_cond: SizeConditioning
    weights: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Examples drawn for one forward pass: latents (B, 4, h, w), prompts, framings, weights (B, 1, h, w) or None."""

    latents: Tensor
    prompts: tuple[Prompt, ...]
    size_conds: tuple[SizeConditioning, ...]
    weights: Tensor | None

    def part(self, piece: slice) -> Batch:
        """Some of its examples."""
        weights = None if self.weights is None else self.weights[piece]
        return Batch(self.latents[piece], self.prompts[piece], self.size_conds[piece], weights)


def slices(count: int, pieces: int) -> list[slice]:
    """`count` things in so many pieces, or fewer, as equal as can be."""
    size = -(-count // pieces)
    return [slice(start, start + size) for start in range(0, count, size)]


def opacity_weights(opacity: Tensor) -> Tensor:
    """Loss weights from an opacity (1, h, w): scaled to average 1; a picture wholly transparent counts everywhere."""
    mean = opacity.mean()
    return opacity / mean if mean > 0 else torch.ones_like(opacity)


@dataclass(frozen=True)
class Dataset:
    """The examples of a run. It holds no position of its own: that is `State.order` and `State.rng`."""

    examples: Sequence[Example]
    lines: Sequence[str]
    captions: CaptionRules
    reader: PromptReader
    sampling: str
    seed: int

    def batch(self, size: int, state: State) -> Batch:
        """Draw `size` examples of one shape, with fresh prompts and latents.

        The order goes through all pictures before any comes again. From it is taken the next picture, and with it the
        next that have its shape: so all are seen equally often, however many have a shape.
        """
        chosen = [self.examples[index] for index in self._next(size, state)]
        prompts = tuple(self.reader.read(self._prompt(example, state.rng)) for example in chosen)
        latents = torch.stack([self._latent(example, state.rng) for example in chosen])
        return Batch(latents, prompts, tuple(example.size_cond for example in chosen), _stack_weights(chosen))

    def _next(self, size: int, state: State) -> list[int]:
        alike: list[int] = []  # places in the order
        while len(alike) < size:
            if alike or not state.order:
                state.order += torch.randperm(len(self.examples), generator=state.rng).tolist()
            shapes = [self.examples[index].latent.mean.shape for index in state.order]
            alike = [place for place, shape in enumerate(shapes) if shape == shapes[0]][:size]
        chosen = [state.order[place] for place in alike]
        taken = set(alike)
        state.order = [index for place, index in enumerate(state.order) if place not in taken]
        return chosen

    def _prompt(self, example: Example, rng: torch.Generator) -> str:
        line = draw_line(self.lines, rng)
        return expand(line, vary(example.caption, self.captions, rng), self.captions)

    def _latent(self, example: Example, rng: torch.Generator) -> Tensor:
        if self.sampling == "deterministic":
            return example.latent.mean
        if self.sampling == "once":  # the same sample on every visit: drawn from the seed and the example's name
            key = hashlib.sha256(f"{self.seed} {example.name}".encode()).digest()[:8]
            rng = torch.Generator().manual_seed(int.from_bytes(key, "big") % 2**63)
        return example.latent.sample(torch.randn(example.latent.mean.shape, generator=rng))


def _stack_weights(examples: Sequence[Example]) -> Tensor | None:
    if all(example.weights is None for example in examples):
        return None
    ones = torch.ones_like(examples[0].latent.mean[:1])
    return torch.stack([ones if example.weights is None else example.weights for example in examples])
