"""What the loaded model can tell before a run: a step tried out, and how well a text does in the word's place."""

from __future__ import annotations

import logging
from dataclasses import replace

from tinv_ext.core.preflight.prepare import Preparation
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.evaluation import evaluate
from tinv_ext.core.training.state import new_state
from tinv_ext.core.training.trial import try_out
from tinv_ext.hosts.base import Host
from tinv_ext.run.preflight import check
from tinv_ext.run.setup import dataset, examples, probe

log = logging.getLogger(__name__)


def examine(config: TrainConfig, host: Host) -> Preparation:
    """As `check`, and one step tried out on the loaded model with the first picture, and undone. Writes nothing."""
    preparation = check(config, host)
    few = replace(
        preparation,
        config=preparation.config.but(cache_latents=False),
        survey=replace(preparation.survey, pictures=preparation.survey.pictures[:1]),
        captions=preparation.captions[:1],
    )
    with host.training(preparation.config.clip_skip) as model:
        trained, measured = examples(few, model, lambda done, total: None, log.warning)
        drawn = dataset(few, trained or measured)
        beginning = preparation.beginning
        state = new_state(beginning.vectors, preparation.config.seed, model.device, beginning.step)
        found = try_out(state, preparation.plan, model, drawn)
    said = found.said(preparation.plan.steps - beginning.step)
    return replace(preparation, notices=(*preparation.notices, *said))


def evaluate_text(config: TrainConfig, host: Host, text: str) -> float:
    """The evaluation loss that `text` reaches in place of the word, on the very draws that measure a run of `config`.

    It tells how good a run could get where words can describe the pictures. Writes nothing but the latent cache.
    """
    preparation = check(config, host)
    named = replace(preparation, rules=replace(preparation.rules, name=text))
    with host.training(preparation.config.clip_skip) as model:
        _, measured = examples(preparation, model, lambda done, total: None, log.warning)
        return evaluate(model, probe(measured, named, model), {})
