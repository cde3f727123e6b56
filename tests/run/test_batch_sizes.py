"""Datasets with batch sizes of their own: each batch is of one of them, every image is seen equally often."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.core.fake import initial
from tests.fake_host import FakeHost, FakeModel
from tests.messages import said
from tests.run.test_masked import train
from tinv_ext.core.data.epochs import Epochs, Share, epochs_of_shares
from tinv_ext.core.settings import TrainConfig
from tinv_ext.run.preflight import prepare_run
from tinv_ext.run.setup import dataset_of, encoded_examples

DATASETS = """
[[datasets]]
resolution = 64
batch_size = {small}
[[datasets.subsets]]
image_dir = {folder!r}
[[datasets]]
resolution = 128
batch_size = {large}
[[datasets.subsets]]
image_dir = {folder!r}
"""


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """Settings of a short run on three images at two sizes."""
    (tmp_path / "images").mkdir()
    for number in range(3):
        Image.linear_gradient("L").rotate(90 * number).save(tmp_path / "images" / f"{number}.png")
    given = {"name": "zworble", "template": "subject", "output": str(tmp_path / "runs"), "preview_every": 0}
    data = {"dataset_config": datasets(tmp_path, 3, 2)}
    return {**given, **data, "steps": 8, "overwrite": True, "num_vectors": 2, "init_text": "a thing", "seed": 1}


def datasets(tmp_path: Path, small: int, large: int) -> str:
    """A dataset config with these batch sizes."""
    path = tmp_path / f"{small} {large}.toml"
    path.write_text(DATASETS.format(folder=str(tmp_path / "images"), small=small, large=large))
    return str(path)


def test_each_batch_has_the_size_of_its_dataset(values: dict[str, Any], tmp_path: Path) -> None:
    """And in the long run each image comes as often as any other, in epochs that count so."""
    run = prepare_run(TrainConfig.from_dict(values), FakeHost(tmp_path / "embeddings"))
    data = dataset_of(run, encoded_examples(run, FakeModel())[0])
    assert (run.plan.batch_size, data.epochs) == (3, Epochs(6, Fraction(12, 5)))
    assert said(run.notices, "preflight.plan_mixed", steps=8, batch="2.4")
    state, seen = initial(), Counter[int]()
    for _ in range(50):
        batch = data.batch(run.plan.batch_size, state.order, state.rng)
        side = batch.latents.shape[2]
        assert len(batch) == {8: 3, 16: 2}[side]
        seen[side] += len(batch)
    assert abs(seen[8] - seen[16]) <= 3


def test_the_loss_is_that_of_the_mean_of_each_batch(values: dict[str, Any], tmp_path: Path) -> None:
    """One size for both is the same run as that size of the whole run; two are another, and resume bit for bit."""
    both = {"dataset_config": datasets(tmp_path, 2, 2)}
    whole = {"dataset_config": datasets(tmp_path, 2, 2).replace("2 2", "none"), "batch_size": 2}
    Path(whole["dataset_config"]).write_text(Path(both["dataset_config"]).read_text().replace("batch_size = 2", ""))
    same = train(values, tmp_path, **both)
    assert torch.equal(train(values, tmp_path, **whole), same)
    mixed = train(values, tmp_path)
    assert not torch.equal(mixed, same)
    assert torch.equal(train(values, tmp_path, stops=(3, 5)), mixed)
    assert torch.allclose(train(values, tmp_path, micro_batch_size=1), mixed, rtol=0, atol=1e-5)
    accumulated = train(values, tmp_path, gradient_accumulation_steps=2)
    assert not torch.equal(accumulated, mixed)
    assert torch.isfinite(accumulated).all()


def test_epochs_of_one_size_count_whole_images() -> None:
    """As ever; with several, by the batches that an epoch takes."""
    assert epochs_of_shares([Share(2, 4), Share(3, 4)], 2) == Epochs(5, 8)
    assert epochs_of_shares([Share(4, 2), Share(2, 2, is_reg=True)], 1) == Epochs(8, 2)
    mixed = epochs_of_shares([Share(4, 4), Share(4, 1), Share(1, 2, is_reg=True)], 1)
    assert mixed == Epochs(16, Fraction(16, 9))  # 1 + 4 + 4 batches
    assert [mixed.over(step) for step in (8, 9, 17, 18)] == [0, 1, 1, 2]
    assert (mixed.steps(2), mixed.ends(9, 1), mixed.ends(10, 1)) == (18, True, False)
