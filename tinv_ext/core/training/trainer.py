"""The training loop of textual inversion (Gal et al. 2022, arXiv 2208.01618).

Everything of the model is frozen; the vectors of the words are all that is optimised. Each step is yielded; to stop is
to leave the loop, to resume is to call it again with the same state. It saves nothing, shows nothing, asks nobody.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter

import torch

from tinv_ext.core.data.dataset import Dataset
from tinv_ext.core.errors import HostError, NumericError
from tinv_ext.core.messages import message
from tinv_ext.core.model import Trainable
from tinv_ext.core.prompts.reader import Prompt

from .constraints import Constraint, unconstrained
from .draws import Draw, order_of, passes, sample_batch
from .fallbacks import Fallbacks
from .forward import assemble
from .gradients import Clip, add_gradients, clip_gradients, mean_loss, pulls_of, weigh_odd
from .objective import Objective
from .ranks import ALONE, Ranks, gather, taker_of
from .standstill import Successor
from .state import State
from .stopping import Rule
from .word_rates import ALL, Moves, Pace, fixed_at, moves


@dataclass(frozen=True)
class Plan:
    """What a run will do: until which step at most, how many images a batch at most, at which rate, towards what."""

    steps: int
    batch_size: int
    accumulate: int
    rate: Callable[[int], float]  # of the update that leads from a step to the next
    clip: Clip | None = None
    objective: Objective = field(default_factory=Objective)
    constraint: Constraint = unconstrained
    lengths: Mapping[str, float] = field(default_factory=dict)  # typical ones of a token's vector, by encoder
    stop: Rule | None = None  # that may end it before
    ema_decay: float = 0.0  # of the averaged vectors, which are the result then; 0: the last ones are
    ema_inv_gamma: float = 9.0  # how it begins: at step k, the average is of k / ema_inv_gamma steps
    successors: tuple[Successor, ...] = ()  # of the optimizer, in turn, where it gets nowhere
    paces: Mapping[str, Pace] = field(default_factory=dict)  # of words that have their own
    downweight_odd: bool = False  # images that do not go with the others count less

    def rate_of(self, state: State) -> float:
        """The rate of the next step, with the optimizer that the run has by now."""
        now = state.standstill
        if not now.switched:
            return self.rate(state.step)
        return self.successors[now.switched - 1].rate_at(state.step, now.since, self.steps)

    def successor(self, state: State) -> Successor | None:
        """The optimizer that is still to be tried where the one at work gets nowhere."""
        left = self.successors[state.standstill.switched :]
        return left[0] if left and not state.standstill.moved else None

    def constrain(self, state: State, moved: Moves = ALL) -> None:
        """Apply the constraint to all vectors that were `moved`, each beside the typical length of a token's in its
        encoder, or 1."""
        for name, word in state.vectors.items():
            for encoder, vectors in word.items() if moved.of(name) else ():
                self.constraint(vectors, state.start[name][encoder], self.lengths.get(encoder, 1.0))

    @property
    def examples(self) -> int:
        """Of one step, at most."""
        return self.batch_size * self.accumulate


@dataclass(frozen=True)
class Step:
    """One optimizer step that was taken: its number, the mean loss of its batches, rate and length of the gradient.

    `vector_norm` is the mean length of the vectors, `distance` how far they are from where they began. `left_out`
    counts examples without a finite loss and gradient that the optimizer did without.
    """

    number: int
    loss: float
    rate: float
    gradient_norm: float
    vector_norm: float
    distance: float
    prompts: tuple[str, ...]
    left_out: int = 0
    losses: tuple[float, ...] = ()  # of the examples, as their prompts


def train(
    state: State,
    plan: Plan,
    model: Trainable,
    dataset: Dataset,
    fallbacks: Fallbacks | None = None,
    ranks: Ranks = ALONE,
) -> Generator[Step, None, None]:
    """Run from `state.step` to `plan.steps`, yielding after each optimizer step, which all `ranks` take together.

    A step is all or nothing: where it fails, the state is as before it. `fallbacks` have begun with the model.
    """
    fallbacks = fallbacks or Fallbacks()
    act = partial(take_step, state, plan, model, dataset, ranks=ranks)
    while state.step < plan.steps:
        if state.standstill.due and (successor := plan.successor(state)):
            state.begin_again(successor.optimizer, plan.lengths, fixed_at(state.step, plan.paces))
        yield fallbacks.attempt(state, model, plan.examples, act, plan.accumulate, ranks)


@torch.enable_grad()
def take_step(
    state: State, plan: Plan, model: Trainable, dataset: Dataset, pieces: int = 1, ranks: Ranks = ALONE
) -> Step:
    """One optimizer step, computed in `pieces`; also where the calling thread has gradients switched off.

    Where it raises, the state has changed in part, also after the update: `Fallbacks.attempt` restores it.
    """
    # gradients, averaged over the batches that make up one step
    losses, places, taker = [], [], taker_of(state, ranks)
    draws = [sample_batch(state, plan.objective, model.noise, dataset, plan.batch_size) for _ in range(plan.accumulate)]
    count = sum(len(draw.batch) for draw in draws)
    for where, draw in passes(draws, pieces, ranks.share(count)):
        inputs = assemble(model, draw.batch, state.vectors, *draw.tensors)
        losses.append(add_gradients(model, inputs, state, plan.objective, count, taker))
        places += where
    order = order_of(draws)
    losses, places = gather(ranks, state, losses, places, order, taker)
    pulls, images = pulls_of(state), [image for draw in draws for image in draw.batch.images]
    if plan.downweight_odd:
        weigh_odd(state, [images[place] for place in order])

    # clip, update, constrain
    rate, now = plan.rate_of(state), moves(plan.paces, state.vectors, state.step, _prompts(draws))
    state.leave_alone(now)
    gradient_norm = clip_gradients(state, model.loss_scale, plan.clip)
    state.begin_averages(plan.ema_decay)
    state.update(rate, now)
    plan.constrain(state, now)
    state.average(plan.ema_decay, plan.ema_inv_gamma, now)

    # everything that is shown is read from the device once; better to fail than to save nonsense
    mean = mean_loss(state, losses, count)
    shown = torch.cat([torch.stack([mean, gradient_norm]), state.lengths(), torch.cat(losses), pulls]).tolist()
    loss, gradient_length, vector_norm, distance, *by_pass = shown
    example_losses = _in_order(places, by_pass[:count])
    prompts = tuple(prompt.text for draw in draws for prompt in draw.batch.prompts)
    left_out = sum(map(math.isnan, example_losses))
    lengths = (rate, gradient_length, vector_norm, distance)
    step = Step(state.step, loss, *lengths, prompts, left_out, tuple(example_losses))
    _refuse_not_finite(step, may_be_still=now.nothing)
    state.balance.follow(example_losses)
    state.outliers = state.outliers.after(images, _in_order(order, by_pass[count:]))
    return step


def _in_order(places: Sequence[int], values: Sequence[float]) -> list[float]:
    """The values of examples in the order of their places in the step."""
    return [value for _, value in sorted(zip(places, values), key=itemgetter(0))]


def _prompts(draws: Sequence[Draw]) -> Iterator[Prompt]:
    """All prompts of a step, those of negative words among them."""
    for draw in draws:
        yield from draw.batch.prompts
        yield from draw.batch.negatives


def _refuse_not_finite(step: Step, may_be_still: bool = False) -> None:
    """Raise where a step has spoiled the vectors, or can have taught them nothing although it was to."""
    if not (math.isfinite(step.loss) and math.isfinite(step.gradient_norm)):
        raise NumericError(
            message(
                "training.not_finite",
                "Step {step} gave a loss of {loss} and a gradient of {gradient}. The vectors of step {kept} were "
                "kept. Use a learning rate below {rate}.",
                step=step.number,
                kept=step.number - 1,
                loss=step.loss,
                gradient=step.gradient_norm,
                rate=f"{step.rate:g}",
            )
        )
    if (
        step.gradient_norm == 0.0 and step.loss != 0.0 and not may_be_still
    ):  # a loss of 0 has weights of 0: nothing was to be learnt
        raise HostError(
            message(
                "training.no_gradient",
                "No gradient reaches the vectors at step {step}: the attention or the UNet in use gives none, so "
                "nothing would be learnt. Choose another attention optimization in the WebUI's settings.",
                step=step.number,
            )
        )
    if not math.isfinite(step.vector_norm):
        raise NumericError(
            message(
                "training.vectors_not_finite",
                "Step {step} at the learning rate {rate} made vectors that are no longer numbers. Those of step {kept} "
                "were kept. Use a lower rate.",
                step=step.number,
                kept=step.number - 1,
                rate=f"{step.rate:g}",
            )
        )
