"""Measuring a run on its way: the evaluation loss, and the row of the curve that it stands in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from tinv_ext.core.data.epochs import Epochs
from tinv_ext.core.messages import message
from tinv_ext.core.model import Model
from tinv_ext.core.training.evaluation import EvalSet, draw_losses, draws_by_word
from tinv_ext.core.training.fallbacks import Fallbacks, free_memory, is_out_of_memory, retry_after_freeing
from tinv_ext.core.training.progress import Share
from tinv_ext.core.training.state import State
from tinv_ext.core.training.stopping import Evaluation
from tinv_ext.core.training.trainer import Plan
from tinv_ext.run.curve import Curve
from tinv_ext.run.events import Evaluated
from tinv_ext.run.reporter import RunReporter
from tinv_ext.run.tasks import Moment

_BATCH_SIZES = (8, 1)  # the second from when memory has not sufficed for the first


@dataclass
class Evaluations:
    """The evaluation loss on the fixed set; `last` is the latest, infinite where there is no finite one.

    The one before the first step makes the model more precise where it must, as a step would; of those on the way, the
    ones every so many steps (`every`) go into the state's progress, and end the run where its `plan` says so.
    """

    state: State
    eval_set: EvalSet | None
    reporter: RunReporter
    fallbacks: Fallbacks
    every: int
    plan: Plan
    last: float = math.inf
    sizes: tuple[int, ...] = _BATCH_SIZES

    def take(self, loss: float) -> bool:
        """Keep `loss` as the latest; whether it is finite."""
        finite = math.isfinite(loss)
        self.last = loss if finite else math.inf
        return finite

    def measure(self, moment: Moment, model: Model | None) -> None:
        """Put the loss into `moment`; it stays None, which is told, where memory runs out or it is not finite."""
        assert model is not None
        losses = self._losses(model)
        while moment.step is None and losses is not None and not _finite(losses) and self._made_precise(model):
            losses = self._losses(model)
        if losses is None:
            self.reporter.notify(
                message(
                    "run.not_evaluated",
                    "Memory ran out during the evaluation at step {step}; the run goes on without it.",
                    step=moment.number,
                )
            )
        elif self.take(loss := float(losses.mean())):
            self.reporter.recovered("evaluation")
            moment.evaluation = loss
            shares = self._shares()
            moment.by_word = {name: float(losses[share.places].mean()) for name, share in shares.items()}
            counts = self._follow(moment, losses, shares)
            progress = self.state.progress
            moment.best = progress.best_step(moment.number)
            moment.best_by_word = {name: progress.words[name].best_step(moment.number) for name in shares}
            self.reporter.report(Evaluated(moment.number, loss, moment.best))
            if counts:
                self._look_for_standstill(moment, loss)
                moment.last |= bool(self.state.progress.ended)
        else:
            self.reporter.warn_once(
                "evaluation",
                message(
                    "run.evaluation_not_finite",
                    "The evaluation at step {step} gave a number that is not finite; the run goes on without it.",
                    step=moment.number,
                ),
            )

    def _shares(self) -> dict[str, Share]:
        """What of an evaluation is of each word, where there are several."""
        if len(self.state.vectors) == 1 or not self.eval_set:
            return {}
        vectors, places = self.state.result, draws_by_word(self.eval_set)
        return {name: Share(places[name], list(word.values())) for name, word in vectors.items() if name in places}

    def _follow(self, moment: Moment, losses: Tensor, shares: Mapping[str, Share]) -> bool:
        """Take the losses of a step into the state's progress; whether they count for the rule that ends the run."""
        evaluation = Evaluation(moment.number, losses)
        if moment.step and moment.number % (self.every or 1):
            self.state.progress = self.state.progress.measured_beside(evaluation, shares)
            return False
        result = [values for word in self.state.result.values() for values in word.values()]
        given = (result, self.plan.stop, terms_of(self.plan), shares)
        self.state.progress = self.state.progress.measured(evaluation, *given)
        return True

    def _look_for_standstill(self, moment: Moment, loss: float) -> None:
        """A run that has not moved does not end by itself while another optimizer can be tried, which is told."""
        state = self.state
        state.standstill = state.standstill.measured(moment.number, loss, state.progress.basis)
        successor = self.plan.successor(state)
        if successor is None:
            return
        state.progress = replace(state.progress, ended="")
        if state.standstill.due and not moment.last:
            self.reporter.notify(
                message(
                    "run.next_optimizer",
                    "The evaluation has not fallen in {checks} checks, so the optimizer {optimizer} gets nowhere here. "
                    "From step {step} on, the run begins again from its first vectors, with {successor}.",
                    checks=state.standstill.checks,
                    optimizer=state.optimizer_name,
                    step=moment.number,
                    successor=successor.optimizer,
                )
            )

    def _losses(self, model: Model) -> Tensor | None:
        """Those of all draws; None where memory runs out even for single images."""
        assert self.eval_set is not None
        for size in self.sizes:
            try:
                return draw_losses(model, self.eval_set, self.state.result, size)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            free_memory(model)
            self.sizes = _BATCH_SIZES[1:]  # to run out once more would cost the model its CUDA graphs each time
        return None

    def _made_precise(self, model: Model) -> bool:
        done = self.fallbacks.upcast(model)
        if done is not None:
            self.reporter.notify(
                message(
                    "run.evaluated_more_precisely",
                    "The evaluation before the first step gave a number that is not finite; it is repeated with "
                    "{what}, which the run keeps.",
                    what=done,
                )
            )
        return done is not None


def terms_of(plan: Plan) -> str:
    """The terms on which a run of this plan ends by itself; on others it would go on. "" where it does not."""
    return f"{plan.stop.patience} of {plan.steps}" if plan.stop else ""


def _finite(losses: Tensor) -> bool:
    return math.isfinite(float(losses.mean()))


@dataclass(frozen=True)
class CurveRows:
    """Rows of loss.csv."""

    curve: Curve
    state: State
    epochs: Epochs

    def add(self, moment: Moment, model: Model | None) -> None:
        """The row of a step; before the first one, where the vectors begin."""
        measured = [number if number is not None else "" for number in (moment.evaluation, moment.best)]
        step = moment.step
        if step is None:
            length, distance = retry_after_freeing(model, lambda: self.state.lengths().tolist())
            self.curve.add(moment.number, 0, "", "", "", length, distance, *measured)
            return
        epoch = self.epochs.over(step.number - 1)
        numbers = (step.loss, step.rate, step.gradient_norm, step.vector_norm, step.distance)
        self.curve.add(step.number, epoch, *numbers, *measured)
