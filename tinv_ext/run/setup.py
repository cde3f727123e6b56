"""What a run works on: its pictures as examples, the fixed draws that it is measured on, and its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from tinv_ext.core.data.captions import expand
from tinv_ext.core.data.dataset import Dataset, Example, opacity_weights
from tinv_ext.core.data.latents import EncodeRules, LatentPicture, encode_pictures
from tinv_ext.core.model import Model
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.prepare import Preparation
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.evaluation import Probe, make_probe
from tinv_ext.core.training.fallbacks import encode_patiently
from tinv_ext.core.training.state import State, load_state, new_state
from tinv_ext.run.provenance import changed, order_facts
from tinv_ext.run.reporter import Standing

MEASURED = 8  # training pictures in the evaluation, where none are kept aside


def examples(
    preparation: Preparation, model: Model, encoded: Callable[[int, int], None], tell: Callable[[str], None]
) -> tuple[list[Example], list[Example]]:
    """The examples to train on and those to measure on, chosen by the seed."""
    config = preparation.config
    rules = EncodeRules(config.sizes, config.fit == "stretch", model.vae_digest)
    cache = path_given(config.output) / "latents" if config.cache_latents else None
    pictures = encode_pictures(
        preparation.survey.pictures,
        rules,
        lambda pixels: encode_patiently(model, pixels),
        cache,
        report=encoded,
        tell=tell,
    )
    every = [_example(picture, text, config) for picture, text in zip(pictures, preparation.captions)]
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(config.seed)).tolist()
    aside = config.evaluation_pictures if config.evaluation_pictures < len(every) else 0
    shuffled = [every[index] for index in order]
    return shuffled[aside:], shuffled[: aside or MEASURED]


def _example(picture: LatentPicture, caption: str, config: TrainConfig) -> Example:
    weights = opacity_weights(picture.opacity) if config.use_alpha and picture.opacity is not None else None
    return Example(picture.picture.path.name, picture.latent, caption, picture.framing, weights)


def dataset(preparation: Preparation, examples: list[Example]) -> Dataset:
    """The examples with the run's template, captions and way of sampling."""
    config = preparation.config
    return Dataset(
        examples, preparation.lines, preparation.rules, preparation.reader, config.latent_sampling, config.seed
    )


def probe(examples: list[Example], preparation: Preparation, model: Model) -> Probe:
    """The fixed draws of the evaluation, in prompts of the template's first line."""
    lines, rules, config = preparation.lines, preparation.rules, preparation.config
    prompts = [preparation.reader.read(expand(lines[0], example.caption, rules)) for example in examples]
    return make_probe(examples, prompts, model.noise, config.evaluation_draws, config.seed)


def state(preparation: Preparation, standing: Standing, model: Model, facts: Mapping[str, Any]) -> State:
    """As the run stood, telling what has changed since; or fresh."""
    if standing.folder.state.is_file():
        kept, before = load_state(standing.folder.state, model.device)
        changes = changed(before, facts)
        if changes:
            standing.notice(f"From step {kept.step} the run is not the one it was: {'; '.join(changes)}.")
        if order_facts(before) != order_facts(facts):
            kept.order = []  # its numbers mean other pictures now
        return kept
    beginning = preparation.beginning
    return new_state(beginning.vectors, preparation.config.seed, model.device, beginning.step)
