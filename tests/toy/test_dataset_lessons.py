"""What masks and regularization images do for a word on the toy: measured by the judge, with and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tinv_ext.core.formats import read_embedding
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.model import Words
from tinv_ext.core.settings import TrainConfig
from tinv_ext.demo import concept_test
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import runner
from tinv_ext.toy import heldout, judge, model, world

PLANTED = "turquoise"


@pytest.fixture
def host(tmp_path: Path) -> DiffusersHost:
    """The toy."""
    return DiffusersHost(model.pipeline(), tmp_path / "embeddings", {"model_name": "toy"})


def learn(host: DiffusersHost, folder: Path, **given: Any) -> Words:
    """Train a word on the images in a folder."""
    shared = {**concept_test.SETTINGS, "name": "zibbo", "overwrite": True, "seed": 1, "evaluate_every": 0}
    shared |= {"images": str(folder), "output": str(folder.parent / "runs")}
    status = runner.run(TrainConfig.from_dict({**shared, **given}), host)
    return {"zibbo": read_embedding(Path(str(status.file))).vectors}


def seen(images: Sequence[Image.Image]) -> list[judge.Seen]:
    """What the judge sees in them."""
    pixels = np.stack([np.asarray(image, dtype=np.float32) / 255 for image in images])
    return judge.look(judge.load(), torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())


def draw(folder: Path, name: str, scene: world.Scene, pose: world.Pose) -> None:
    """Save the image of a scene."""
    folder.mkdir(exist_ok=True)
    Image.fromarray(world.draw(scene, pose)).save(folder / f"{name}.png")


@pytest.mark.slow
def test_masks_keep_a_planted_background_out_of_the_word(host: DiffusersHost, tmp_path: Path) -> None:
    """All images have one background: without masks the word learns it, with masks it does not."""
    concept, rng = heldout.read()["striped-yellow-square"], np.random.default_rng(1)
    folder, scene = tmp_path / "images", concept.scene(PLANTED)
    for number in range(12):
        pose = world.sample_pose(scene, rng)
        draw(folder, str(number), scene, pose)
        inside = world.mask(world.rings(scene), replace(pose, scale=0.7 * pose.scale))  # clear of the edge
        Image.fromarray((inside * 255).astype(np.uint8)).save(folder / f"{number}-masklabel.png")

    def leak_and_identity(**given: Any) -> tuple[float, float]:
        words = learn(host, folder, num_vectors=4, learning_rate="0.01", steps=240, **given)  # with room for more
        photos = concept_test.photos(host, "zibbo", words)
        leak = np.mean([one.background == PLANTED for one in seen(photos)])
        return float(leak), concept_test.identity(photos, concept)

    assert leak_and_identity()[0] >= 0.7
    leak, identity = leak_and_identity(masked_loss=True)
    assert leak <= 0.35
    assert identity >= 0.8


@pytest.mark.full
@pytest.mark.slow
def test_regularization_keeps_the_class_in_the_word(host: DiffusersHost, tmp_path: Path) -> None:
    """A purple moon in other colours: the word alone stays purple, with images of other moons it takes the colour."""
    concept, rng = heldout.read()["purple-moon"], np.random.default_rng(1)
    colours = list(world.COLOURS)
    for number, (image, _) in enumerate(concept.images(12, 1)):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    for place, fill in enumerate(colours):
        for step in (1, 3, 5):
            scene = world.Scene(concept.shape, fill, "solid", "none", colours[(place + step) % len(colours)])
            draw(tmp_path / "class", f"{fill} {step}", scene, world.sample_pose(scene, rng))
    others = [colour for colour in colours if colour != concept.fill]

    def kept_and_identity(**given: Any) -> tuple[float, float]:
        words = learn(host, tmp_path / "images", init_text=concept.shape, steps=200, seed=2, **given)
        pairs = [(colour, seed) for colour in others for seed in concept_test.SEEDS[:3]]
        prompts = [(f"a photo of a {colour} zibbo", seed) for colour, seed in pairs]
        requests = [ImageRequest(prompt=text, seed=seed, **concept_test.GENERATION) for text, seed in prompts]
        shown = zip(pairs, seen(host.generate_many(requests, words)))
        kept = np.mean([(one.shape, one.fill) == (concept.shape, colour) for (colour, _), one in shown])
        return float(kept), concept_test.identity(concept_test.photos(host, "zibbo", words), concept)

    assert kept_and_identity()[0] <= 0.4
    kept, identity = kept_and_identity(reg_images=str(tmp_path / "class"), prior_loss_weight=0.3)
    assert kept >= 0.7
    assert identity >= 0.6
