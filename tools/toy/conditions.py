"""Images to teach from, as people have them (tools/toy/recipes.py --condition)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import samples
from learn import PLAN
from PIL import Image

from tinv_ext.toy import heldout, world

ONE_BACKGROUND = "one-background"
CONDITIONS = ("usual", "three-images", "one-bad-image", ONE_BACKGROUND)


def write(condition: str, folder: Path, concept: heldout.Concept, other: heldout.Concept, seed: int) -> None:
    """The images of the concept in an empty folder, with the captions that samples.py writes, which a template may use.

    Three of them; nine and one of `other`; or as many as usual, but all on the same background.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if condition == ONE_BACKGROUND:
        folder.mkdir(parents=True)
        rng, scene = np.random.default_rng([seed, *concept.name.encode()]), concept.scene(planted(concept, seed))
        for number in range(PLAN["images"]):
            Image.fromarray(world.draw(scene, world.sample_pose(scene, rng))).save(folder / f"{number:02d}.png")
        return
    samples.write(concept, folder, {"three-images": 3, "one-bad-image": 9}.get(condition, PLAN["images"]), seed)
    if condition == "one-bad-image":
        image, _ = other.images(1, seed)[0]
        Image.fromarray(image).save(folder / "bad.png")


def planted(concept: heldout.Concept, seed: int) -> str:
    """The background of all images where there is one."""
    backgrounds = concept.backgrounds()
    return backgrounds[seed % len(backgrounds)]
