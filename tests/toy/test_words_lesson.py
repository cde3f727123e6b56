"""Two words at once on the toy: each is learnt as well as alone, and neither shows anything of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.toy.test_dataset_lessons import seen
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.model import Words
from tinv_ext.core.settings import TrainConfig
from tinv_ext.demo import concept_test
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import runner
from tinv_ext.toy import heldout, model

TAUGHT = {"zibbo": "purple-moon", "quixxly": "striped-yellow-square"}
STEPS = 120  # for each word
RECIPE = {"preset": "fast", "evaluate_every": 0}


@pytest.fixture
def host(tmp_path: Path) -> DiffusersHost:
    """The toy."""
    return DiffusersHost(model.pipeline(), tmp_path / "embeddings", {"model_name": "toy"})


def learn(host: DiffusersHost, place: Path, *names: str, **given: Any) -> Words:
    """Train words at once, each on twelve images of its concept; the vectors of each."""
    tables = []
    for name in names:
        folder = place / name
        folder.mkdir(exist_ok=True)
        for number, (image, _) in enumerate(heldout.read()[TAUGHT[name]].images(12, 1)):
            Image.fromarray(image).save(folder / f"{number}.png")
        tables.append({"name": name, "images": str(folder)})
    values = {**concept_test.SHARED, **RECIPE, "overwrite": True, "seed": 1, "output": str(place / "runs"), **given}
    runner.run(TrainConfig.from_dict({**values, "words": tables, "steps": STEPS * len(names)}), host)
    return {name: read_embedding(host.embeddings_folder / f"{name}.pt").vectors for name in names}


@pytest.mark.slow
def test_two_words_at_once_are_as_good_as_alone_and_do_not_bleed(host: DiffusersHost, tmp_path: Path) -> None:
    """At equal images for each word: 0.9 of its identity alone, and a prompt with one shows nothing of the other."""
    concepts = {name: heldout.read()[concept] for name, concept in TAUGHT.items()}
    alone = {name: learn(host, tmp_path, name)[name] for name in TAUGHT}
    both = learn(host, tmp_path, *TAUGHT)
    for name, other in (("zibbo", "quixxly"), ("quixxly", "zibbo")):
        photos = concept_test.photos(host, name, both)
        before = concept_test.identity(concept_test.photos(host, name, {name: alone[name]}), concepts[name])
        assert before >= 0.6
        assert concept_test.identity(photos, concepts[name]) >= 0.9 * before
        assert concept_test.identity(photos, concepts[other]) == 0.0


@pytest.mark.slow
def test_a_negative_word_makes_what_it_was_taught_rarer(host: DiffusersHost, tmp_path: Path) -> None:
    """A word for the purple moon in the negative prompt: of images that are to be purple, far fewer are."""
    words = learn(host, tmp_path, "zibbo", purpose="negative", num_vectors=1, template="subject")

    def purple(negative: str) -> float:
        given = {**concept_test.GENERATION, "negative_prompt": negative}
        requests = [ImageRequest(prompt="a photo of a purple shape", seed=seed, **given) for seed in concept_test.SEEDS]
        return float(np.mean([one.fill == "purple" for one in seen(host.generate_many(requests, words))]))

    without = purple("")
    assert without >= 0.8
    assert purple("zibbo") <= 0.6 * without
