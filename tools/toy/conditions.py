"""Images to teach from, as people have them (tools/toy/recipes.py --condition)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import samples
from learn import PLAN

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
        rng, background = np.random.default_rng([seed, *concept.name.encode()]), planted(concept, seed)
        scenes = [scene for scene in concept.scenes(3 * PLAN["images"], rng) if scene.fill != background]
        for number, scene in enumerate(scenes[: PLAN["images"]], start=1):
            image = world.draw(world.on(scene, background), world.sample_pose(scene, rng))
            samples.save(folder / f"{number:02d}.png", image, concept, world.on(scene, background))
        return
    samples.write(concept, folder, {"three-images": 3, "one-bad-image": 9}.get(condition, PLAN["images"]), seed)
    if condition == "one-bad-image":
        image, scene = other.images(1, seed)[0]
        samples.save(folder / "bad.png", image, concept, scene)


def planted(concept: heldout.Concept, seed: int) -> str:
    """The background of all images where there is one."""
    backgrounds = concept.backgrounds()
    return backgrounds[seed % len(backgrounds)]
