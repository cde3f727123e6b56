"""What a run works on: its pictures as examples, the fixed draws that it is measured on, and its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from tinv_ext.core.data.dataset import Dataset, Example, opacity_weights
from tinv_ext.core.data.latents import EncodedImage, EncodeRules, encode_pictures
from tinv_ext.core.data.order import Order
from tinv_ext.core.data.subsets import Subset
from tinv_ext.core.model import Model
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.evaluation import EvalSet, make_eval_set
from tinv_ext.core.training.fallbacks import encode_with_retry
from tinv_ext.core.training.state import State, load_state, new_state
from tinv_ext.run.provenance import changed, order_facts
from tinv_ext.run.reporter import RunReporter

MEASURED = 8  # training pictures in the evaluation, where none are kept aside


def examples(
    prepared: PreparedRun, model: Model, encoded: Callable[[int, int], None], tell: Callable[[str], None]
) -> tuple[list[Example], list[Example]]:
    """The examples to train on and those to measure on, chosen by the seed."""
    config = prepared.config
    rules = EncodeRules(config.sizes, config.resize_mode == "stretch", model.vae_digest)
    cache = path_given(config.output) / "latents" if config.cache_latents else None
    pictures = encode_pictures(
        prepared.scan.pictures,
        rules,
        lambda pixels: encode_with_retry(model, pixels),
        cache,
        report=encoded,
        tell=tell,
    )
    subset = Subset(prepared.lines, prepared.rules)
    every = [_example(picture, text, subset, config) for picture, text in zip(pictures, prepared.captions)]
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(config.seed)).tolist()
    aside = config.evaluation_images if config.evaluation_images < len(every) else 0
    shuffled = [every[index] for index in order]
    return shuffled[aside:], shuffled[: aside or MEASURED]


def _example(picture: EncodedImage, caption: str, subset: Subset, config: TrainConfig) -> Example:
    weights = opacity_weights(picture.opacity) if config.alpha_as_loss_weight and picture.opacity is not None else None
    return Example(picture.picture.path.name, picture.latent, caption, picture.size_cond, subset, weights)


def dataset(prepared: PreparedRun, examples: list[Example]) -> Dataset:
    """The examples with the run's way of sampling."""
    config = prepared.config
    return Dataset(examples, prepared.reader, config.latent_sampling, config.seed)


def probe(examples: list[Example], prepared: PreparedRun, model: Model) -> EvalSet:
    """The fixed draws of the evaluation, in prompts of the template's first line."""
    return make_eval_set(
        examples, prepared.reader, model.noise, prepared.config.evaluation_timesteps, prepared.config.seed
    )


def state(prepared: PreparedRun, reporter: RunReporter, model: Model, facts: Mapping[str, Any]) -> State:
    """As the run stood, telling what has changed since; or fresh."""
    if reporter.folder.state.is_file():
        kept, before = load_state(reporter.folder.state, model.device, prepared.config.name)
        changes = changed(before, facts)
        if changes:
            reporter.notify(f"From step {kept.step} the run is not the one it was: {'; '.join(changes)}.")
        if order_facts(before) != order_facts(facts):
            kept.order = Order()  # its numbers mean other pictures now
        return kept
    initial = prepared.initial
    return new_state({prepared.config.name: initial.vectors}, prepared.config.seed, model.device, initial.step)
