"""What a step samples, batch by batch, and the passes in which it goes through the model.

A step of several batches is one large batch where memory allows: the random numbers are drawn in the same order, and
the gradient is the same but for rounding. Batches can only go through together where latents have one shape and prompts
the same number of chunks, because an empty chunk more is another prompt to the UNet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tinv_ext.core.data.dataset import Batch, Dataset, join_batches, slices
from tinv_ext.core.noise import Noise

from .gradients import sample_probe
from .objective import Objective
from .state import State


@dataclass(frozen=True)
class Draw:
    """A batch with its noise (B, C, h, w), its timesteps (B,), and what else `forward.StepInputs` has of it."""

    batch: Batch
    noise: Tensor
    timesteps: Tensor
    timestep_weights: Tensor | None = None
    input_noise: Tensor | None = None
    probe: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """All but the batch, in the order of the fields."""
        return (self.noise, self.timesteps, self.timestep_weights, self.input_noise, self.probe)

    def part(self, piece: slice) -> Draw:
        """Some of its examples."""
        return Draw(self.batch.part(piece), *(None if one is None else one[piece] for one in self.tensors))  # type: ignore[arg-type]


def sample_batch(state: State, objective: Objective, noise: Noise, dataset: Dataset, size: int) -> Draw:
    """The next batch and all that is sampled for it, from the state's generator."""
    batch = dataset.batch(size, state.order, state.rng, state.step)
    drawn, timesteps = objective.sample(batch.latents, noise, state.rng)
    weights = state.balance.weigh(timesteps, noise.timesteps)
    given = objective.noise.perturbed(drawn, state.rng)
    return Draw(batch, drawn, timesteps, weights, given, sample_probe(state, batch.latents))


def passes(draws: Sequence[Draw], pieces: int, share: range | None = None) -> Iterator[tuple[list[int], Draw]]:
    """The draws in at most `pieces` passes of equal size, or in more where not all can go together.

    With each pass the places that its examples have in the step. Each pass has its own text encoder pass, too. Of
    several processes each computes the examples of its `share` of the places alone.
    """
    at_once = -(-sum(len(draw.timesteps) for draw in draws) // pieces)
    for places, group in _alike(draws, share):
        whole = _joined(group)
        for piece in slices(len(places), -(-len(places) // at_once)):
            yield places[piece], whole.part(piece)


def order_of(draws: Sequence[Draw]) -> list[int]:
    """The places of all examples in the order in which `passes` has them, into however many pieces it cuts them."""
    return [place for places, _ in _alike(draws) for place in places]


def _alike(draws: Sequence[Draw], share: range | None = None) -> list[tuple[list[int], list[Draw]]]:
    """Draws that can go through the model together, with the places of their examples in the step."""
    first, alike = 0, dict[object, tuple[list[int], list[Draw]]]()
    for draw in draws:
        here = range(first, first + len(draw.timesteps))
        first = here.stop
        own = here if share is None else range(max(here.start, share.start), min(here.stop, share.stop))
        if not own:
            continue
        if own != here:
            draw = draw.part(slice(own.start - here.start, own.stop - here.start))
        key = (draw.batch.latents.shape[1:], len(draw.batch.prompts[0].chunks))
        places, group = alike.setdefault(key, ([], []))
        places.extend(own)
        group.append(draw)
    return list(alike.values())


def _joined(draws: Sequence[Draw]) -> Draw:
    if len(draws) == 1:
        return draws[0]
    columns = zip(*(draw.tensors for draw in draws))
    tensors = [None if column[0] is None else torch.cat(column) for column in columns]
    return Draw(join_batches([draw.batch for draw in draws]), *tensors)  # type: ignore[arg-type]
