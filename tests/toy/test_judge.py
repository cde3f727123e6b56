"""The judge's word counts: it is right on drawings, and on those of every held-out concept."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tests.messages import refused
from tinv_ext.toy import heldout, judge, world


def tensor(images: list[np.ndarray]) -> torch.Tensor:
    """Images (n, 3, 64, 64) in 0…1."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def test_right_on_drawings() -> None:
    """At least 98 % in every attribute on images that it has not seen."""
    rng, concepts = np.random.default_rng(2024), heldout.read()
    stream = world.stream(rng, lambda scene: heldout.is_held_out(scene, concepts))
    scenes = list(itertools.islice(stream, 500))
    seen = judge.look(judge.load(), tensor([world.draw(scene, world.sample_pose(scene, rng)) for scene in scenes]))
    shares = judge.right(seen, [judge.expected(scene) for scene in scenes])
    assert min(shares[name] for name in judge.classes()) >= 0.98


@pytest.mark.parametrize("name", list(heldout.read()))
def test_right_on_held_out_concepts(name: str) -> None:
    """At least 95 % of a held-out concept's drawings show it to the judge."""
    concept = heldout.read()[name]
    seen = judge.look(judge.load(), tensor([image for image, _ in concept.images(60, 31)]))
    assert np.mean([judge.shows(one, concept) for one in seen]) >= 0.95


def test_another_thing_does_not_show_the_concept() -> None:
    """Another colour, shape or pattern is not the concept."""
    concept = heldout.read()["purple-moon"]
    others = [
        world.Scene("moon", "red", "solid", "none", "blue"),
        world.Scene("ring", "purple", "solid", "none", "blue"),
    ]
    seen = judge.look(judge.load(), tensor([world.draw(scene) for scene in others]))
    assert not any(judge.shows(one, concept) for one in seen)


def test_a_missing_judge_is_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The message says which file is missing."""
    with refused("toy.judge_missing", path=tmp_path / "none.safetensors"):
        judge.load(tmp_path / "none.safetensors")
