"""What masks and regularization images do for a word on the toy: measured by the judge, with and without."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import TrainConfig
from tinv_ext.demo import concept_test
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import runner
from tinv_ext.toy import heldout, judge, model, world

PLANTED = "turquoise"


@dataclass(frozen=True)
class Learned:
    """Shares of images of the word: with the planted background, and with the concept."""

    leak: float
    identity: float


@pytest.fixture
def host(tmp_path: Path) -> DiffusersHost:
    """The toy."""
    return DiffusersHost(model.pipeline(), tmp_path / "embeddings", {"model_name": "toy"})


def learn(host: DiffusersHost, concept: heldout.Concept, folder: Path, **given: Any) -> Learned:
    """Train a word of several vectors, which has room for more than the concept, and look at its images."""
    shared = {**concept_test.SETTINGS, "name": "zibbo", "overwrite": True, "seed": 1, "evaluate_every": 0}
    shared |= {"images": str(folder), "output": str(folder.parent / "runs"), "num_vectors": 4}
    status = runner.run(TrainConfig.from_dict({**shared, "learning_rate": "0.01", **given}), host)
    photos = concept_test.photos(host, "zibbo", {"zibbo": read_embedding(Path(str(status.file))).vectors})
    pixels = np.stack([np.asarray(photo, dtype=np.float32) / 255 for photo in photos])
    seen = judge.look(judge.load(), judge.torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())
    leak = np.mean([one.background == PLANTED for one in seen])
    return Learned(float(leak), concept_test.identity(photos, concept))


@pytest.mark.slow
def test_masks_keep_a_planted_background_out_of_the_word(host: DiffusersHost, tmp_path: Path) -> None:
    """All images have one background: without masks the word learns it, with masks it does not."""
    concept, rng = heldout.read()["striped-yellow-square"], np.random.default_rng(1)
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(12):
        scene = concept.scene(PLANTED)
        pose = world.sample_pose(scene, rng)
        Image.fromarray(world.draw(scene, pose)).save(folder / f"{number}.png")
        inside = world.mask(world.rings(scene), replace(pose, scale=0.7 * pose.scale))  # clear of the edge
        Image.fromarray((inside * 255).astype(np.uint8)).save(folder / f"{number}-masklabel.png")
    without = learn(host, concept, folder, steps=350)
    masked = learn(host, concept, folder, steps=350, masked_loss=True)
    assert without.leak >= 0.7
    assert masked.leak <= 0.35
    assert masked.identity >= 0.8
