"""The toy world: what is drawn, what captions say, and what training never sees."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from tests.messages import ids, refused
from tinv_ext.toy import captions, heldout, world

pytestmark = pytest.mark.once


def test_no_held_out_thing_in_a_hundred_thousand_draws() -> None:
    """The training stream holds none of the held-out concepts."""
    concepts = heldout.read()
    rng = np.random.default_rng(5)
    scenes = world.stream(rng, lambda scene: heldout.is_held_out(scene, concepts))
    seen = list(itertools.islice(scenes, 100_000))
    things = {(scene.shape, scene.fill, scene.pattern, scene.mark) for scene in seen}
    for concept in concepts.values():
        if concept.words:
            assert (concept.shape, concept.fill, concept.pattern, concept.mark) not in things
    outlines = np.array([scene.outline for scene in seen if scene.outline])
    for concept in concepts.values():
        if concept.outline:
            assert np.linalg.norm(outlines - np.array(concept.outline), axis=1).min() >= heldout.NEAR


def test_the_hold_out_is_needed() -> None:
    """Without the hold-out the stream would draw the concepts that words describe."""
    concepts = heldout.read()
    scenes = itertools.islice(world.stream(np.random.default_rng(5)), 20_000)
    assert sum(heldout.is_held_out(scene, concepts) for scene in scenes) > 50


def test_enough_concepts_of_both_kinds() -> None:
    """Eight concepts at least, four with words and two without."""
    concepts = heldout.read().values()
    assert len(concepts) >= 8
    assert sum(concept.words is not None for concept in concepts) >= 4
    assert sum(concept.words is None for concept in concepts) >= 2


def test_a_concept_has_twelve_different_pictures() -> None:
    """A concept draws twelve images, no two alike, the same ones for the same seed."""
    concept = heldout.read()["purple-moon"]
    images = [image.tobytes() for image, _ in concept.images(12, 0)]
    assert len(set(images)) == 12
    assert images == [image.tobytes() for image, _ in concept.images(12, 0)]


@pytest.mark.parametrize("shape", [shape for shape in world.SHAPES if shape != "odd"])
def test_a_shape_has_its_fill_and_its_background(shape: str) -> None:
    """The corner shows the background and a good part of the image the fill."""
    drawn = world.draw(world.Scene(shape, "red", "solid", "none", "blue"))
    assert tuple(drawn[0, 0]) == world.COLOURS["blue"]
    assert 0.1 < (drawn == world.COLOURS["red"]).all(-1).mean() < 0.6


def test_stripes_alternate_with_grey() -> None:
    """Half of a striped square is grey."""
    drawn = world.draw(world.Scene("square", "red", "striped", "none", "blue"))
    grey, red = (drawn == world.GREY).all(-1).sum(), (drawn == world.COLOURS["red"]).all(-1).sum()
    assert 0.5 < grey / red < 2


def test_captions_say_what_they_claim() -> None:
    """Every attribute that a caption says stands in its text or in its coined name; the others do not."""
    rng = np.random.default_rng(1)
    for scene in itertools.islice(world.stream(rng), 2000):
        caption = captions.caption(scene, rng)
        words = {*caption.text.split(), *(caption.coined or ())}
        for key in ("fill", "background"):
            assert (caption.attributes[key] is None) or (caption.attributes[key] in words)
        if scene.shape in captions.SHAPES:
            assert (caption.attributes["shape"] is None) == (scene.shape not in words)


def test_a_concept_from_outside(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A file with corners makes a concept that can be drawn."""
    path = tmp_path / "mine.json"
    mine = {"shape": "odd", "corners": [[-1, -1], [1, -1], [0, 1]], "fill": "red", "pattern": "solid", "mark": "dot"}
    path.write_text(json.dumps({"mine": mine}))
    (image, scene), *_ = heldout.read(path)["mine"].images(1, 0)
    assert image.shape == (64, 64, 3)
    assert scene.background != "red"


def test_every_problem_of_a_concept_file_is_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A bad concept is refused with one sentence for each mistake."""
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"bad": {"shape": "odd", "fill": "mauve", "pattern": "dotted", "mark": "none"}}))
    with refused("toy.concept_value", key="fill", value="mauve") as caught:
        heldout.read(path)
    assert ids(caught.value.problems) == ["toy.concept_value", "toy.concept_value", "toy.concept_shapeless"]
