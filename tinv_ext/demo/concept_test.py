"""A lesson: the toy model is taught one held-out concept, and the judge says what it has learnt.

It is what `make demo` shows once and `make learn` does many times. Identity: the share of "a photo of <word>" that
shows the concept. Editability: the share of "a photo of <word> on a … background" with background and concept right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tinv_ext.run.status import Status
from tinv_ext.run import (events, runner, run_folder, dry_run)
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.preflight.initial_vectors import from_text
from tinv_ext.core.model import Words
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.settings import TrainConfig
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.toy import heldout, judge
from tinv_ext.toy.captions import describe

SAMPLES = Path(__file__).parents[1] / "toy" / "samples"
SETTINGS: dict[str, Any] = {
    "init_text": "thing",
    "vectors": 1,
    "batch_size": 4,
    "steps": 300,
    "learn_rate": "0.01:100, 0.005:200, 0.002",
    "template": "subject",
    "width": 64,
    "height": 64,
    "evaluate_every": 25,
    "evaluation_draws": 4,
    "save_every": 0,
    "preview_every": 0,
}
DRAWING: dict[str, Any] = {"negative_prompt": "", "steps": 25, "cfg_scale": 3.0, "width": 64, "height": 64}
SEEDS = range(1000, 1016)  # of the pictures that the judge sees


@dataclass(frozen=True)
class ConceptTest:
    """What came of it: the figures, the run, and the pictures before and after (same seeds)."""

    report: dict[str, Any]
    status: Status
    curve: list[tuple[int, float]]
    before: list[Image.Image] = field(repr=False)
    after: list[Image.Image] = field(repr=False)
    edited: Mapping[str, Image.Image] = field(repr=False)


def teach(
    host: DiffusersHost,
    concept: heldout.Concept,
    config: TrainConfig,
    report: Callable[[events.Event], None] = lambda event: None,
) -> ConceptTest:
    """Train as `config` says and measure before and after. The host is a toy model's."""
    curve: list[tuple[int, float]] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Evaluated):
            curve.append((event.step, event.loss))
        report(event)

    begun = time.monotonic()
    start = from_text(config.init_text, config.vectors, host.token_table).vectors
    before = photos(host, config.name, {config.name: start})
    training = time.monotonic()
    status = runner.run(config, host, listen)
    training = time.monotonic() - training
    learnt = read_embedding(Path(str(status.file))).vectors
    after = photos(host, config.name, {config.name: learnt})
    edited = on_backgrounds(host, concept, config.name, {config.name: learnt})
    said: dict[str, Any] = {
        "concept": concept.name,
        "word": config.name,
        "identity_before": identity(before, concept),
        "identity_after": identity(after, concept),
        "editability": editability(edited, concept),
        "evaluation_before": curve[0][1],
        "evaluation_after": curve[-1][1],
    }
    said.update(described(host, concept, config) if concept.words else {})
    said.update(steps=status.steps, images_seen=status.steps * config.examples_per_step)
    said.update(training_seconds=round(training, 1), seconds=round(time.monotonic() - begun, 1))
    firsts = {background: pictures[0] for background, pictures in edited.items()}
    return ConceptTest(said, status, curve, before, after, firsts)


def described(host: DiffusersHost, concept: heldout.Concept, config: TrainConfig) -> dict[str, float]:
    """What the full description of the concept reaches in the word's place: how good the base model is at it."""
    words = describe(concept.scene("white"))
    edited = on_backgrounds(host, concept, f"a {words}", {})
    return {
        "identity_description": identity(photos(host, f"a {words}", {}), concept),
        "editability_description": editability(edited, concept),
        "evaluation_description": dry_run.evaluate_text(
            config.but(name=config.name, overwrite=True), host, f"a {words}"
        ),
    }


def photos(host: DiffusersHost, subject: str, words: Words) -> list[Image.Image]:
    """ "a photo of …" once for each of `SEEDS`."""
    return host.generate_many([ImageRequest(prompt=f"a photo of {subject}", seed=s, **DRAWING) for s in SEEDS], words)


def on_backgrounds(
    host: DiffusersHost, concept: heldout.Concept, subject: str, words: Words
) -> dict[str, list[Image.Image]]:
    """Two pictures on each background that the concept's own colour allows."""
    places = [(background, seed) for background in concept.backgrounds() for seed in SEEDS[:2]]
    requests = [
        ImageRequest(prompt=f"a photo of {subject} on a {background} background", seed=seed, **DRAWING)
        for background, seed in places
    ]
    drawn: dict[str, list[Image.Image]] = {}
    for (background, _), picture in zip(places, host.generate_many(requests, words)):
        drawn.setdefault(background, []).append(picture)
    return drawn


def identity(pictures: list[Image.Image], concept: heldout.Concept) -> float:
    """Share of pictures that show the concept, by the judge."""
    return float(np.mean([judge.shows(seen, concept) for seen in _look(pictures)]))


def editability(edited: Mapping[str, list[Image.Image]], concept: heldout.Concept) -> float:
    """Share of pictures that show the concept on the background that was asked for."""
    kept = [
        judge.shows(seen, concept) and seen.background == background
        for background, pictures in edited.items()
        for seen in _look(pictures)
    ]
    return float(np.mean(kept))


def _look(pictures: list[Image.Image]) -> list[judge.Seen]:
    pixels = np.stack([np.asarray(picture, dtype=np.float32) / 255 for picture in pictures])
    return judge.look(judge.load(), torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())
