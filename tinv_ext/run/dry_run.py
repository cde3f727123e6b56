"""What the loaded model can tell before a run: a few steps tried out and undone, and how well a text does as the word.

How long a step takes is measured over several: a single one is far off on a machine that also does something else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import torch

from tinv_ext.core.data.dataset import Dataset
from tinv_ext.core.messages import Message, message
from tinv_ext.core.model import Trainable
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.preflight.subsets import PreparedSubset
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.evaluation import evaluate
from tinv_ext.core.training.fallbacks import Fallbacks
from tinv_ext.core.training.state import State
from tinv_ext.core.training.trainer import Plan, take_step
from tinv_ext.hosts.base import Host
from tinv_ext.run.class_images import seconds_for_all
from tinv_ext.run.preflight import prepare_run
from tinv_ext.run.setup import dataset_of, encoded_examples, eval_set_of
from tinv_ext.run.starting_fallbacks import fallbacks_of, settings_that_fit

log = logging.getLogger(__name__)
STEPS = 7  # timed at most; a first one, which compiles and fills caches, does not count
SECONDS = 15.0  # after which no further step is begun
_GIGA = 2**30


@dataclass(frozen=True)
class DryRun:
    """What the steps were like.

    How far each encoder's vectors moved in one, its loss, the seconds of each, the peak of memory in bytes if known,
    what had to be given up, and the settings with which a run would begin so.
    """

    moved: Mapping[str, float]
    loss: float
    seconds: tuple[float, ...]
    memory: int | None
    given_up: tuple[str, ...]
    fitting: tuple[str, ...] = ()

    def notices(self, steps: int) -> Iterator[str]:
        """For people, before a run of so many steps."""
        if self.loss:  # of weights that are all 0 nothing can be said
            yield message(
                "run.gradient_arrives",
                "The gradient reaches the vectors ({encoders:, }); the loss of one step is {loss:.4f}.",
                encoders=list(self.moved),
                loss=self.loss,
            )
        yield self._duration(steps)
        if self.memory is not None:
            yield message(
                "run.memory_needed", "It needs {gigabytes:.1f} GB of the GPU's memory.", gigabytes=self.memory / _GIGA
            )
        yield from self.given_up
        if self.fitting:
            yield message(
                "run.settings_that_fit",
                "The run will find that out by itself at its first step; set {settings:, } to begin with what fits.",
                settings=self.fitting,
            )

    def _duration(self, steps: int) -> Message:
        """The least, as on a machine that does nothing else, and the middle one, where that says something else."""
        least, middle = min(self.seconds), median(self.seconds)
        texts = [(f"{one:.2g}", duration(one * steps)) for one in (least, middle)]
        if texts[0] == texts[1]:
            return message(
                "run.step_takes",
                "A step takes {seconds} s here: {time} for {steps:step|steps}.",
                seconds=texts[0][0],
                steps=steps,
                time=texts[0][1],
            )
        return message(
            "run.step_takes_range",
            "A step takes {least} to {middle} s here: {shortest} to {usual} for {steps:step|steps}.",
            least=texts[0][0],
            middle=texts[1][0],
            steps=steps,
            shortest=texts[0][1],
            usual=texts[1][1],
        )


def duration(seconds: float) -> Message:
    """As "2 h 10 min", "3 min" or "20 s"."""
    if seconds < 90:
        return message("run.seconds", "{seconds:.0f} s", seconds=seconds)
    minutes = round(seconds / 60)
    if minutes < 90:
        return message("run.minutes", "{minutes} min", minutes=minutes)
    return message("run.hours", "{hours} h {minutes} min", hours=minutes // 60, minutes=minutes % 60)


def try_out(
    state: State,
    plan: Plan,
    model: Trainable,
    dataset: Dataset,
    clock: Callable[[], float] = time.perf_counter,
    fallbacks: Fallbacks | None = None,
) -> DryRun:
    """Take the first step several times, undoing it each time. The errors are those of training.

    At least two: one that does not count, and one that does however long it takes. `fallbacks` are those that the run
    begins with.
    """
    given_up: list[str] = []
    fallbacks = replace(fallbacks or Fallbacks(), tell=given_up.append)
    fallbacks.begin(model)
    before = state.backup()
    on_gpu = model.device.type == "cuda"
    seconds: list[float] = []
    act = partial(take_step, state, plan, model, dataset)
    if on_gpu:  # the first counts here: it records graphs, whose memory a replay does not ask for again
        torch.cuda.reset_peak_memory_stats(model.device)
    begun = clock()
    try:
        while len(seconds) < 2 or (len(seconds) <= STEPS and clock() - begun < SECONDS):
            state.restore(before)
            if on_gpu:
                torch.cuda.synchronize(model.device)
            started = clock()
            step = fallbacks.attempt(state, model, plan.examples, act, plan.accumulate)
            seconds.append(clock() - started)  # the loss was read: the device is done
        encoders = [encoder for word in state.vectors.values() for encoder in word]
        now = zip(encoders, state.leaves(), before.vectors)
        moved = {encoder: float((vector.detach() - old).abs().max()) for encoder, vector, old in now}
        memory = torch.cuda.max_memory_allocated(model.device) if on_gpu else None
        fitting = settings_that_fit(fallbacks, plan.examples) if given_up else ()
        return DryRun(moved, step.loss, tuple(seconds[1:]), memory, tuple(given_up), tuple(fitting))
    finally:
        state.restore(before)


def examine(prepared: PreparedRun, host: Host, tell: Callable[[DryRun], None] = lambda result: None) -> PreparedRun:
    """Try out a run's first step with its first image; what it tells is added to the notices. `tell` hears it, too.

    Writes nothing but, into a log directory that is there, what the host keeps of precisions.
    """
    few = replace(
        prepared,
        config=prepared.config.but(cache_latents=False),
        subsets=(_first_image(max(prepared.subsets, key=_needs)),),
    )
    with host.training(prepared.config.clip_skip) as model:
        trained, evaluated = encoded_examples(few, model, tell=log.warning)
        dataset = dataset_of(few, trained or evaluated)
        state = prepared.new_state(model.device)
        fallbacks = fallbacks_of(_largest(prepared), log.info, device=model.device.type)
        result = try_out(state, prepared.plan, model, dataset, fallbacks=fallbacks)
    tell(result)
    notices = [*result.notices(prepared.plan.steps - prepared.start)]
    if prepared.to_generate:
        notices.append(
            message(
                "run.class_images_take",
                "Generating {count:image|images} of the class before that takes about {time}.",
                count=len(prepared.to_generate),
                time=duration(seconds_for_all(prepared, host)),
            )
        )
    return replace(prepared, notices=(*prepared.notices, *notices))


def _largest(prepared: PreparedRun) -> TrainConfig:
    """The settings with the size of the largest batches."""
    return prepared.config.but(batch_size=prepared.plan.batch_size)


def _needs(subset: PreparedSubset) -> int:
    """Pixels of its batches; none for one that is only there to regularize."""
    config = subset.config
    return 0 if subset.source.is_reg else config.batch_size * config.width * config.height


def _first_image(subset: PreparedSubset) -> PreparedSubset:
    scan = replace(subset.scan, pictures=subset.scan.pictures[:1])
    return replace(subset, scan=scan, captions=subset.captions[:1])


def evaluate_text(config: TrainConfig, host: Host, text: str) -> float:
    """The evaluation loss that `text` reaches in place of the word, on the very set that a run of `config` has.

    It tells how good a run could get where words can describe the images. Writes nothing but the latent cache.
    """
    prepared = prepare_run(config, host)
    subsets = tuple(replace(one, rules=replace(one.rules, name=text)) for one in prepared.subsets)
    with_text = replace(prepared, subsets=subsets)
    with host.training(prepared.config.clip_skip) as model:
        _, evaluated = encoded_examples(with_text, model, tell=log.warning)
        return evaluate(model, eval_set_of(with_text, evaluated, model.noise), {})
