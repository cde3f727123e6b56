"""The wide world: what it draws and says, what its training never sees, and what its judge can tell."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.messages import refused
from tests.toy.test_tools import tool
from tinv_ext.core.formats import read_embedding
from tinv_ext.demo import concept_test
from tinv_ext.run import runner
from tinv_ext.toy import captions, heldout, judge, model, words, world

pytestmark = pytest.mark.once
CONCEPTS = heldout.read(heldout.WIDE_FILE)


def scenes(count: int) -> list[world.Scene]:
    """Of the training stream."""
    stream = world.stream(np.random.default_rng(5), lambda scene: heldout.is_held_out(scene, CONCEPTS), world.WIDE)
    return list(itertools.islice(stream, count))


def test_training_sees_no_held_out_thing_and_enough_of_all_else() -> None:
    """Neither things nor styles nor outlines; each pattern, mark and ball is there, and a mark can be seen."""
    seen = scenes(20_000)
    things = {(scene.shape, scene.fill, scene.pattern, scene.mark, scene.ball) for scene in seen}
    styles = {(scene.pattern, scene.mark) for scene in seen}
    outlines = np.array([scene.outline for scene in seen if scene.outline])
    for concept in CONCEPTS.values():
        if concept.words:
            assert (concept.shape, concept.fill, concept.pattern, concept.mark, concept.ball) not in things
        if concept.style:
            assert (concept.pattern, concept.mark) not in styles
        if concept.outline:
            assert np.linalg.norm(outlines - np.array(concept.outline), axis=1).min() >= heldout.NEAR
    for attribute, values in (("pattern", world.PATTERNS), ("mark", world.MARKS), ("ball", ("none", *world.COLOURS))):
        found = [getattr(scene, attribute) for scene in seen]
        assert min(found.count(value) for value in values) > 200
    assert not any(scene.fill == world.HIDES.get(scene.mark) for scene in seen)
    assert not any(scene.ball in (scene.fill, scene.background) for scene in seen)


def test_captions_say_what_they_claim() -> None:
    """Pattern, mark and ball stand in the text or in its one coined name, and all words are in the vocabulary."""
    rng, styles, known = np.random.default_rng(1), 0, set(captions.every_word())
    for scene in scenes(3000):
        caption = captions.wide_caption(scene, rng)
        told = {*caption.text.split(), *(caption.coined or ())}
        assert caption.text.count(captions.COINED) == (caption.coined is not None)
        assert {*caption.text.split()} <= known | {captions.UNKNOWN, captions.COINED}
        named = {"striped": {"striped", "stripes"}, "checked": {"checked", "checks"}, "solid": set[str]()}
        for pattern, either in named.items():
            assert bool(told & either) == (scene.pattern == pattern != "solid")
        assert {"eye", "dot", "bar"} & told == {scene.mark} - {"none"}
        assert ("ball" in told or caption.ball != "none") == (scene.ball != "none")
        assert caption.ball in ("none", scene.ball)
        assert caption.attributes["ball"] == scene.ball
        styles += "style of" in caption.text or caption.text.endswith(f"by {captions.COINED}")
        assert len(words.encode(caption.text)) == words.LENGTH
    assert styles > 100


def test_checks_and_balls_are_drawn() -> None:
    """Half of a checked square is grey, in two directions; the ball is where it belongs."""
    drawn = world.draw(world.Scene("square", "red", "checked", "none", "blue", ball="white"))
    grey, red = (drawn == world.GREY).all(-1), (drawn == world.COLOURS["red"]).all(-1)
    assert 0.5 < grey.sum() / red.sum() < 2
    middle = slice(20, 44)
    assert grey[middle, middle].any(0).all()
    assert grey[middle, middle].any(1).all()
    assert tuple(drawn[14, 50]) == world.COLOURS["white"]


def test_a_style_is_shown_on_many_things() -> None:
    """Every shape, colours that differ, and on each the pattern and the mark."""
    style = CONCEPTS["stripes-and-dot"]
    shown = [scene for _, scene in style.images(12, 1)]
    assert {scene.shape for scene in shown} == set(captions.SHAPES)
    assert len({scene.fill for scene in shown}) > 3
    assert all(heldout.same_thing(scene, style) and scene.fill != scene.background for scene in shown)
    assert not any(scene.fill == "black" for scene in shown)


def test_a_ball_of_no_colour_is_refused(tmp_path: Path) -> None:
    """With the colours that there are."""
    path, mine = tmp_path / "mine.json", {"shape": "circle", "fill": "red", "pattern": "solid", "mark": "none"}
    path.write_text(json.dumps({"mine": {**mine, "words": "x", "ball": "grey"}}), encoding="utf-8")
    with refused("toy.concept_value", key="ball", value="grey"):
        heldout.read(path)


def test_concepts_of_ones_own_are_of_the_variants_world(tmp_path: Path) -> None:
    """So that its judge, which alone knows checks and balls, is asked."""
    path, mine = tmp_path / "mine.json", {"words": "x", "shape": "circle", "fill": "red", "mark": "none"}
    path.write_text(json.dumps({"mine": {**mine, "pattern": "checked", "ball": "blue"}}), encoding="utf-8")
    for variant, of in (("wide", world.WIDE), (None, world.FIRST)):
        known = tool("concepts").read(path, variant)
        assert known["mine"].home is of
        assert tool("concepts").judged(known) == ["mine"]


def test_all_weights_are_small_enough_to_be_shipped() -> None:
    """In all at most 25 megabytes."""
    assert sum(file.stat().st_size for file in model.FILE.parent.iterdir()) <= 25_000_000


@pytest.mark.parametrize("name", list(CONCEPTS))
def test_the_judge_knows_its_concepts(name: str) -> None:
    """At least 95 % of the drawings of one show it, and next to none of another's."""
    concept, other = CONCEPTS[name], CONCEPTS[list(CONCEPTS)[list(CONCEPTS).index(name) - 1]]
    for shown, least, most in ((concept, 0.95, 1.0), (other, 0.0, 0.02)):
        images = np.stack([image for image, _ in shown.images(60, 31)])
        seen = judge.look(judge.load(of=world.WIDE), torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
        assert least <= np.mean([judge.shows(one, concept) for one in seen]) <= most


@pytest.mark.slow
def test_a_style_is_learned(tmp_path: Path) -> None:
    """`fast` with captions, after 160 images: other things in its style, of the shape and colours asked for."""
    host, style = tool("learn").host_in(tmp_path / "embeddings", "wide"), CONCEPTS["stripes-and-dot"]
    config = tool("recipes").config_of(tmp_path, "fast", style, 1).but(steps=160, save_every=0)
    before = concept_test.shown(host, style, config.init_text, {})
    learned = read_embedding(Path(str(runner.run(config, host).file))).vectors
    after = {config.name: learned}
    assert concept_test.identity(before, style) <= 0.2
    assert concept_test.identity(concept_test.shown(host, style, config.name, after), style) >= 0.6
    assert concept_test.edited(host, style, config.name, after) >= 0.6
