"""Regularization images: seen as often as the training images, weighed by the prior loss weight, never measured."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.core.fake import dataset, initial
from tests.fake_host import FakeHost, FakeModel
from tests.messages import said
from tests.run.test_masked import train
from tinv_ext.core.errors import InputError
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.settings import TrainConfig
from tinv_ext.run.preflight import prepare_run
from tinv_ext.run.setup import dataset_of, encoded_examples


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """Settings of a short run on three pictures, with five of the class."""
    for folder, count in (("images", 3), ("class", 5)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            Image.new("RGB", (64, 64), (40 * number, 90, 20 * count)).save(tmp_path / folder / f"{folder} {number}.png")
    given = {"images": str(tmp_path / "images"), "reg_images": str(tmp_path / "class"), "num_vectors": 2}
    shared = {"name": "zworble", "output": str(tmp_path / "runs"), "overwrite": True, "init_text": "a thing"}
    return {**shared, **given, "steps": 6, "batch_size": 2, "preview_every": 0, "seed": 3}


def prepared(values: dict[str, Any], tmp_path: Path, **given: Any) -> PreparedRun:
    """A run that was checked."""
    return prepare_run(TrainConfig.from_dict({**values, **given}), FakeHost(tmp_path / "embeddings"))


def test_half_of_what_is_seen_are_pictures_of_the_class(values: dict[str, Any], tmp_path: Path) -> None:
    """Each of them comes; their losses are weighed, their prompts are the class prompt; none of them is measured."""
    run = prepared(values, tmp_path, prior_loss_weight=0.25, class_prompt="one of [name]")
    trained, evaluated = encoded_examples(run, FakeModel())
    assert {example.name.split("/")[0] for example in evaluated} == {f"images {number}.png" for number in range(3)}
    data, state = dataset_of(run, trained), initial()
    assert data.epochs.images == 6
    seen: Counter[str] = Counter()
    for _ in range(60):
        batch = data.batch(2, state.order, state.rng)
        weights = torch.ones(2) if batch.example_weights is None else batch.example_weights
        for prompt, weight in zip(batch.prompts, weights.tolist()):
            of_class = prompt.text == "one of zworble"
            seen["class" if of_class else "own"] += 1
            assert weight == (0.25 if of_class else 1.0)
    assert seen == {"class": 60, "own": 60}
    names = Counter(example.name for example in data._drawn)
    assert len(names) == 8
    assert sum(count for name, count in names.items() if name.startswith("regularization/")) == 6


def test_folders_of_the_class_have_their_repeats(values: dict[str, Any], tmp_path: Path) -> None:
    """As kohya's: N_class sub-folders, whose share is by their repeats."""
    for number, name in enumerate(("1_cat", "3_dog")):
        (tmp_path / "all" / name).mkdir(parents=True)
        Image.new("RGB", (64, 64), (9, 9, 99 * number)).save(tmp_path / "all" / name / "a.png")
    run = prepared(values, tmp_path, reg_images=str(tmp_path / "all"))
    assert [subset.name for subset in run.subsets] == ["", "regularization/1_cat", "regularization/3_dog"]
    data = dataset_of(run, encoded_examples(run, FakeModel())[0])
    counts = Counter(example.name for example in data._drawn)
    assert counts["regularization/3_dog/a.png"] > counts["regularization/1_cat/a.png"] > 0


def test_the_weight_decides_how_much_they_teach(values: dict[str, Any], tmp_path: Path) -> None:
    """0 is a run without them, bit for bit; another weight is another run, and the same when it is resumed."""
    weighed = train(values, tmp_path, prior_loss_weight=0.5)
    assert torch.equal(train(values, tmp_path, stops=(2, 4), prior_loss_weight=0.5), weighed)
    assert not torch.equal(train(values, tmp_path), weighed)
    without = train(values, tmp_path, reg_images="")
    assert not torch.equal(without, weighed)
    assert torch.equal(train(values, tmp_path, prior_loss_weight=0.0), without)


def test_a_dataset_without_them_is_drawn_as_before() -> None:
    """Every example once, in an epoch of as many."""
    assert len(dataset()._drawn) == dataset().epochs.images == 5


def test_prompts_without_the_word_teach_nothing(values: dict[str, Any], tmp_path: Path) -> None:
    """Told, and left out: the run is that without them, bit for bit."""
    run = prepared(values, tmp_path, class_prompt="a photo of a cat")
    assert said(run.notices, "preflight.of_subset", subset="regularization")
    assert [subset.name for subset in run.subsets] == [""]
    without = train(values, tmp_path, reg_images="")
    assert torch.equal(train(values, tmp_path, class_prompt="a photo of a cat"), without)


@pytest.mark.parametrize(
    ("folder", "wanted"), [("empty", "preflight.of_subset"), ("images", "preflight.regularization_same")]
)
def test_a_folder_that_cannot_be_it_is_refused(
    values: dict[str, Any], tmp_path: Path, folder: str, wanted: str
) -> None:
    """One without images, and that of the training images; with all other problems."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        prepared(values, tmp_path, reg_images=str(tmp_path / folder), template="nowhere")
    assert said(caught.value.problems, wanted)
    assert len(caught.value.problems) > 1
