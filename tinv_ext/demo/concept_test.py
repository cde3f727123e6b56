"""Teach the toy model one held-out concept, and let the judge measure how well the word was learned.

`make demo` shows it for two concepts; `make learn` (tools/toy/learn.py) measures every concept with several seeds.
Identity is the share of images of "a photo of <word>" that show the concept; editability is the share of images of
"a photo of <word> on a … background" with both the background and the concept right.
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

from tinv_ext.core.formats import read_embedding
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.model import Words
from tinv_ext.core.preflight.initial_vectors import from_text
from tinv_ext.core.settings import TrainConfig
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import dry_run, events, runner
from tinv_ext.run.status import Status
from tinv_ext.toy import heldout, judge, outlines, world
from tinv_ext.toy.captions import describe

SAMPLES = Path(__file__).parents[1] / "toy" / "samples"
SHARED: dict[str, Any] = {
    "init_text": "thing",
    "num_vectors": 1,
    "template": "subject",
    "width": 64,
    "height": 64,
    "evaluate_every": 25,
    "evaluation_timesteps": 4,
    "save_every": 0,
    "preview_every": 0,
}
SETTINGS: dict[str, Any] = {**SHARED, "batch_size": 4, "steps": 300, "learning_rate": "0.01:100, 0.005:200, 0.002"}
"""AdamW's lesson, with which the toy models were accepted."""
GENERATION: dict[str, Any] = {"negative_prompt": "", "steps": 25, "cfg_scale": 3.0, "width": 64, "height": 64}
SEEDS = range(1000, 1016)  # of the images that the judge sees


@dataclass(frozen=True)
class Result:
    """The figures, the run's status and evaluation curve, and images before and after training (same seeds)."""

    report: dict[str, Any]
    status: Status
    curve: list[tuple[int, float]]
    before: list[Image.Image] = field(repr=False)
    after: list[Image.Image] = field(repr=False)
    by_background: Mapping[str, Image.Image] = field(repr=False)


def run(
    host: DiffusersHost,
    concept: heldout.Concept,
    config: TrainConfig,
    report: Callable[[events.Event], None] = lambda event: None,
) -> Result:
    """Train with `config` on a toy model's host, and measure before and after."""
    curve: list[tuple[int, float]] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Evaluated):
            curve.append((event.step, event.loss))
        report(event)

    began = time.monotonic()
    initial = from_text(config.init_text, config.num_vectors, host.token_table).vectors
    before = photos(host, config.name, {config.name: initial})
    training_began = time.monotonic()
    status = runner.run(config, host, listen)
    training_seconds = time.monotonic() - training_began
    learned = read_embedding(Path(str(status.file))).vectors
    after = photos(host, config.name, {config.name: learned})
    by_background = on_backgrounds(host, concept, config.name, {config.name: learned})
    figures: dict[str, Any] = {
        "concept": concept.name,
        "word": config.name,
        "identity_before": identity(before, concept),
        "identity_after": identity(after, concept),
        "editability": editability(by_background, concept),
        "evaluation_before": curve[0][1],
        "evaluation_after": curve[-1][1],
    }
    figures.update(measure_description(host, concept, config) if concept.words else {})
    figures.update(steps=status.steps, images_seen=status.steps * config.examples_per_step)
    figures.update(training_seconds=round(training_seconds, 1), seconds=round(time.monotonic() - began, 1))
    first_each = {background: images[0] for background, images in by_background.items()}
    return Result(figures, status, curve, before, after, first_each)


def measure_description(host: DiffusersHost, concept: heldout.Concept, config: TrainConfig) -> dict[str, float]:
    """The same figures for a full description in place of the word: what the base model can do at best."""
    description = f"a {describe(concept.scene('white'))}"
    return {
        "identity_description": identity(photos(host, description, {}), concept),
        "editability_description": editability(on_backgrounds(host, concept, description, {}), concept),
        "evaluation_description": dry_run.evaluate_text(
            config.but(name=config.name, overwrite=True), host, description
        ),
    }


def photos(host: DiffusersHost, subject: str, words: Words) -> list[Image.Image]:
    """Images of "a photo of <subject>", one for each of `SEEDS`."""
    requests = [ImageRequest(prompt=f"a photo of {subject}", seed=seed, **GENERATION) for seed in SEEDS]
    return host.generate_many(requests, words)


def in_style(host: DiffusersHost, subject: str, words: Words) -> list[tuple[world.Scene, Image.Image]]:
    """Images of many shapes "in the style of <subject>", with what each prompt asks for beside the style."""
    colours = list(world.COLOURS)
    asked = [
        world.Scene(shape, colours[(number + 3 * turn) % 8], "solid", "none", colours[(number + 3 * turn + 4) % 8])
        for turn in range(3)
        for number, shape in enumerate(outlines.SHAPES)
    ]
    requests = [
        ImageRequest(
            prompt=f"a photo of a {scene.fill} {scene.shape} on a {scene.background} background "
            f"in the style of {subject}",
            seed=SEEDS[0] + number,
            **GENERATION,
        )
        for number, scene in enumerate(asked)
    ]
    return list(zip(asked, host.generate_many(requests, words)))


def on_backgrounds(
    host: DiffusersHost, concept: heldout.Concept, subject: str, words: Words
) -> dict[str, list[Image.Image]]:
    """Two images of the subject on each background that differs from the concept's own colour."""
    pairs = [(background, seed) for background in concept.backgrounds() for seed in SEEDS[:2]]
    requests = [
        ImageRequest(prompt=f"a photo of {subject} on a {background} background", seed=seed, **GENERATION)
        for background, seed in pairs
    ]
    by_background: dict[str, list[Image.Image]] = {}
    for (background, _), image in zip(pairs, host.generate_many(requests, words)):
        by_background.setdefault(background, []).append(image)
    return by_background


def shown(host: DiffusersHost, concept: heldout.Concept, subject: str, words: Words) -> list[Image.Image]:
    """Images in which `identity` looks for the concept: photos of the subject, or other things in its style."""
    if concept.style:
        return [image for _, image in in_style(host, subject, words)]
    return photos(host, subject, words)


def edited(host: DiffusersHost, concept: heldout.Concept, subject: str, words: Words) -> float:
    """How often a prompt that asks for more gets it: another background, or the things that are to be in the style."""
    if concept.style:
        return kept_in_style(in_style(host, subject, words), concept)
    return editability(on_backgrounds(host, concept, subject, words), concept)


def identity(images: list[Image.Image], concept: heldout.Concept) -> float:
    """The share of images in which the judge sees the concept."""
    return float(np.mean([judge.shows(seen, concept) for seen in look(images, concept.home)]))


def kept_in_style(images: list[tuple[world.Scene, Image.Image]], concept: heldout.Concept) -> float:
    """The share of images in a style in which the judge sees it, and the shape, colour and background asked for."""
    seen = look([image for _, image in images], concept.home)
    right = [
        judge.shows(one, concept)
        and (one.shape, one.fill, one.background) == (scene.shape, scene.fill, scene.background)
        for (scene, _), one in zip(images, seen)
    ]
    return float(np.mean(right))


def editability(by_background: Mapping[str, list[Image.Image]], concept: heldout.Concept) -> float:
    """The share of images in which the judge sees the concept on the background in the prompt."""
    right = [
        judge.shows(seen, concept) and seen.background == background
        for background, images in by_background.items()
        for seen in look(images, concept.home)
    ]
    return float(np.mean(right))


def on_background(images: list[Image.Image], background: str) -> float:
    """The share of images in which the judge sees this background."""
    return float(np.mean([seen.background == background for seen in look(images)]))


def look(images: list[Image.Image], of: world.World = world.FIRST) -> list[judge.Seen]:
    """What a world's judge sees in images of 64×64 pixels."""
    pixels = np.stack([np.asarray(image, dtype=np.float32) / 255 for image in images])
    return judge.look(judge.load(of=of), torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())
