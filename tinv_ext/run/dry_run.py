"""What the loaded model can tell before a run: a step tried out, and how well a text does in the word's place."""

from __future__ import annotations

import logging
from dataclasses import replace

from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.evaluation import evaluate
from tinv_ext.core.training.state import new_state
from tinv_ext.core.training.trial import try_out
from tinv_ext.hosts.base import Host
from tinv_ext.run.preflight import check
from tinv_ext.run.setup import dataset, examples, probe

log = logging.getLogger(__name__)


def examine(config: TrainConfig, host: Host) -> PreparedRun:
    """As `check`, and one step tried out on the loaded model with the first picture, and undone. Writes nothing."""
    prepared = check(config, host)
    few = replace(
        prepared,
        config=prepared.config.but(cache_latents=False),
        scan=replace(prepared.scan, pictures=prepared.scan.pictures[:1]),
        captions=prepared.captions[:1],
    )
    with host.training(prepared.config.clip_skip) as model:
        trained, measured = examples(few, model, lambda done, total: None, log.warning)
        drawn = dataset(few, trained or measured)
        initial = prepared.initial
        state = new_state({prepared.config.name: initial.vectors}, prepared.config.seed, model.device, initial.step)
        found = try_out(state, prepared.plan, model, drawn)
    said = found.said(prepared.plan.steps - initial.step)
    return replace(prepared, notices=(*prepared.notices, *said))


def evaluate_text(config: TrainConfig, host: Host, text: str) -> float:
    """The evaluation loss that `text` reaches in place of the word, on the very draws that measure a run of `config`.

    It tells how good a run could get where words can describe the pictures. Writes nothing but the latent cache.
    """
    prepared = check(config, host)
    named = replace(prepared, rules=replace(prepared.rules, name=text))
    with host.training(prepared.config.clip_skip) as model:
        _, measured = examples(named, model, lambda done, total: None, log.warning)
        return evaluate(model, probe(measured, named, model), {})
