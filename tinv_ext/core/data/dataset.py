"""Examples and the batches drawn from them: each visit samples a template line, a caption and the latent."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tinv_ext.core.prompts.reader import Prompt, PromptReader, padded

from .epochs import Epochs, Share, epochs_of_shares
from .image_fit import SizeConditioning
from .latents import LatentDistribution
from .order import Order
from .subsets import Subset
from .variation import Visit


@dataclass(frozen=True)
class Example:
    """An image's latent (4, h, w) with its captions, one a line; `pixel_weights` (1, h, w) are of the loss.

    `others` are its other variants (flipped, cropped elsewhere …), of the same shape: each visit samples one of all.
    """

    name: str
    latent: LatentDistribution
    caption: str
    size_cond: SizeConditioning
    subset: Subset
    pixel_weights: Tensor | None = None
    others: tuple[Example, ...] = ()

    @property
    def shape(self) -> torch.Size:
        """Of the latent: what a batch must have in common."""
        return self.latent.mean.shape

    def equals(self, other: Example) -> bool:
        """Whether the other looks bit for bit alike, so that to see one is to see the other."""
        mine, its = ((e.latent.mean, e.latent.std, *_present(e.pixel_weights)) for e in (self, other))
        same = len(mine) == len(its) and all(torch.equal(a, b) for a, b in zip(mine, its))
        return same and self.size_cond == other.size_cond

    def variant(self, rng: torch.Generator) -> Example:
        """One of its variants, each as likely; where there is one, nothing is sampled."""
        if not self.others:
            return self
        return (self, *self.others)[int(torch.randint(1 + len(self.others), (1,), generator=rng))]

    def unmasked(self, rng: torch.Generator) -> Example:
        """The same with all pixels counting alike, with the probability of its subset."""
        chance = self.subset.unmasked_probability
        if not chance or self.pixel_weights is None or float(torch.rand(1, generator=rng)) >= chance:
            return self
        return replace(self, pixel_weights=None)


@dataclass(frozen=True)
class Batch:
    """Examples drawn for one forward pass: latents (B, 4, h, w), prompts, size conditionings, and loss weights by
    pixel (B, 1, h, w) and by example (B,), None where all count alike.

    `negatives` are the prompts with negative words in the place of theirs, from which the answer is moved away by
    `cfg_scale`; none where no word has one. `images` has of each the word that it teaches and the name of its image,
    which is "" where that regularizes: it is not to go with the others.
    """

    latents: Tensor
    prompts: tuple[Prompt, ...]
    size_conds: tuple[SizeConditioning, ...]
    pixel_weights: Tensor | None = None
    example_weights: Tensor | None = None
    negatives: tuple[Prompt, ...] = ()
    cfg_scale: float = 1.0
    images: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.prompts)

    def part(self, piece: slice) -> Batch:
        """Some of its examples."""
        by_pixel, by_example = (None if w is None else w[piece] for w in (self.pixel_weights, self.example_weights))
        prompts, negatives = self.prompts[piece], self.negatives[piece]
        sizes, images = self.size_conds[piece], self.images[piece]
        return Batch(self.latents[piece], prompts, sizes, by_pixel, by_example, negatives, self.cfg_scale, images)


def join_batches(batches: Sequence[Batch]) -> Batch:
    """Batches of one shape as one; where only some have weights, the others' are 1."""
    return Batch(
        torch.cat([batch.latents for batch in batches]),
        tuple(prompt for batch in batches for prompt in batch.prompts),
        tuple(size for batch in batches for size in batch.size_conds),
        _join_weights([(batch.pixel_weights, batch.latents[:, :1]) for batch in batches]),
        _join_weights([(batch.example_weights, batch.latents[:, 0, 0, 0]) for batch in batches]),
        tuple(prompt for batch in batches for prompt in batch.negatives),
        batches[0].cfg_scale,
        tuple(image for batch in batches for image in batch.images),
    )


def _join_weights(weights: Sequence[tuple[Tensor | None, Tensor]]) -> Tensor | None:
    """Each with a tensor of the shape that ones have in its place."""
    if all(weight is None for weight, _ in weights):
        return None
    return torch.cat([torch.ones_like(like) if weight is None else weight for weight, like in weights])


def slices(count: int, pieces: int) -> list[slice]:
    """`count` things in so many pieces, or fewer, as equal as can be."""
    size = -(-count // pieces)
    return [slice(start, start + size) for start in range(0, count, size)]


@dataclass(frozen=True)
class Guidance:
    """Guidance in the loss (DreamArtist): how far answers are moved away from those to the negative prompts.

    `reader` reads a prompt with the negative word of each word that has one in its place.
    """

    reader: PromptReader
    scale: float


def read_prompts(
    texts: Sequence[str], reader: PromptReader, guidance: Guidance | None
) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """Prompts of one number of chunks, and with guidance their negative prompts, of as many."""
    prompts = [reader.read(text) for text in texts]
    if guidance is None:
        return padded(prompts, reader.tokenizer), ()
    both = padded([*prompts, *(guidance.reader.read(text) for text in texts)], reader.tokenizer)
    return both[: len(texts)], both[len(texts) :]


@dataclass(frozen=True)
class Dataset:
    """The examples of a run. It holds no position of its own: that is the `Order` and the generator of the state.

    `latent_sampling` is "random" (a new sample of the VAE's latent at each visit), "once" (one for the whole run) or
    "deterministic" (its mean). A step has `accumulate` batches of `batch_size` examples, or of as many as their subset
    says.
    """

    examples: Sequence[Example]
    reader: PromptReader
    latent_sampling: str
    seed: int
    batch_size: int = 1
    accumulate: int = 1
    guidance: Guidance | None = None
    _drawn: tuple[Example, ...] = field(init=False, repr=False)
    _shapes: tuple[Hashable, ...] = field(init=False, repr=False)
    _sizes: Mapping[Hashable, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        drawn = _repeated([example for example in self.examples if not example.subset.is_reg])
        others = _repeated([example for example in self.examples if example.subset.is_reg])
        if others:  # all of them at least once in a round, and as many as of the images
            drawn *= -(-len(others) // len(drawn))
            drawn += tuple(others[place % len(others)] for place in range(len(drawn)))
        object.__setattr__(self, "_drawn", drawn)
        groups = [(example.shape, example.subset.batch_size) for example in drawn]
        object.__setattr__(self, "_shapes", tuple(groups))
        object.__setattr__(self, "_sizes", {group: group[1] for group in groups if group[1]})

    @property
    def epochs(self) -> Epochs:
        """An epoch: every image as often as it is repeated, and as many that regularize."""
        shares = [
            Share(subset.repeats, subset.batch_size or self.batch_size, subset.is_reg)
            for subset in (example.subset for example in self.examples)
        ]
        return epochs_of_shares(shares, self.accumulate)

    def visit(self, steps_done: int) -> Visit:
        """The next step, with the epoch that it begins in."""
        return Visit(steps_done + 1, self.epochs.over(steps_done) + 1)

    def batch(self, size: int, order: Order, rng: torch.Generator, steps_done: int = 0) -> Batch:
        """Draw `size` examples of one shape, with fresh prompts and latents, for the step after `steps_done`; of a
        subset that has a batch size of its own, as many as that.

        The order goes through all images before any comes again. From it is taken the next one, and with it the next
        that have its shape: so all are seen equally often, however many have a shape.
        """
        numbers = order.next(size, self._shapes, rng, self._sizes)
        chosen = [self._drawn[number].variant(rng) for number in numbers]
        visit = self.visit(steps_done)
        texts = [example.subset.sample_prompt(example.caption, rng, visit) for example in chosen]
        prompts, negatives = read_prompts(texts, self.reader, self.guidance)
        latents = torch.stack([self._latent(example, rng) for example in chosen])
        size_conds = tuple(example.size_cond for example in chosen)
        return Batch(
            latents,
            prompts,
            size_conds,
            pixel_weights([example.unmasked(rng) for example in chosen]),
            _example_weights(chosen),
            negatives,
            self.guidance.scale if self.guidance else 1.0,
            tuple(map(_named, map(self._drawn.__getitem__, numbers))),
        )

    def _latent(self, example: Example, rng: torch.Generator) -> Tensor:
        if self.latent_sampling == "deterministic":
            return example.latent.mean
        if self.latent_sampling == "once":  # the same sample on every visit: from the seed and the example's name
            key = hashlib.sha256(f"{self.seed} {example.name}".encode("utf-8", "surrogatepass")).digest()[:8]
            rng = torch.Generator().manual_seed(int.from_bytes(key, "big") % 2**63)
        return example.latent.sample(torch.randn(example.shape, generator=rng))


def _repeated(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Each as often as its subset says.

    What all have in common is left out, as it only makes an epoch longer: twice each is two epochs of once each.
    """
    common = math.gcd(*(example.subset.repeats for example in examples)) or 1
    return tuple(example for example in examples for _ in range(example.subset.repeats // common))


def _named(example: Example) -> tuple[str, str]:
    return example.subset.captions.name, "" if example.subset.is_reg else example.name


def _present(tensor: Tensor | None) -> tuple[Tensor, ...]:
    return () if tensor is None else (tensor,)


def pixel_weights(examples: Sequence[Example]) -> Tensor | None:
    """Loss weights by pixel (B, 1, h, w); None where all count alike."""
    if all(example.pixel_weights is None for example in examples):
        return None
    ones = torch.ones_like(examples[0].latent.mean[:1])
    return torch.stack([ones if example.pixel_weights is None else example.pixel_weights for example in examples])


def _example_weights(examples: Sequence[Example]) -> Tensor | None:
    if all(example.subset.weight == 1.0 for example in examples):
        return None
    return torch.tensor([example.subset.weight for example in examples])
