"""OneTrainer's concepts as subsets: each with its folder, its prompts and what else is set for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.fake_host import FakeHost
from tests.messages import refused, said
from tinv_ext.core.messages import Message
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.adopt import adopt
from tinv_ext.core.settings.settings_file import read_settings_file
from tinv_ext.run.preflight import prepare_run

OWN = {"base_model_name": "m", "training_method": "EMBEDDING", "embedding": {"placeholder": "zworble"}}


@pytest.fixture
def concepts(tmp_path: Path) -> list[dict[str, Any]]:
    """Two folders of images with a prompt beside each, one with a file of prompts, one that is off."""
    for place, name in enumerate(("cats", "dogs", "prompted", "off")):
        (tmp_path / name).mkdir()
        for number in range(2):
            image = Image.new("RGB", (64, 64), (60 * place, 90 * number, 20))
            image.save(tmp_path / name / f"{number}.png")
            (tmp_path / name / f"{number}.txt").write_text(f"zworble, {name}, b, c")
    (tmp_path / "prompts.txt").write_text("a drawing of zworble\n")
    tags = {"enable_tag_shuffling": True, "tag_delimiter": ",", "keep_tags_count": 2}
    dropped = {"tag_dropout_enable": True, "tag_dropout_mode": "RANDOM", "tag_dropout_probability": 0.5}
    wide = {"enable_resolution_override": True, "resolution_override": "64x128", "enable_fixed_rotate": True}
    return [
        {"path": str(tmp_path / "cats"), "balancing": 3.0, "text": {"prompt_source": "sample", **tags}},
        {"path": str(tmp_path / "dogs"), "loss_weight": 0.5, "text": {**tags, **dropped}, "image": wide},
        {"path": str(tmp_path / "prompted"), "text": _prompts_in(tmp_path / "prompts.txt"), "balancing": 0.5},
        {"path": str(tmp_path / "off"), "enabled": False},
    ]


def _prompts_in(path: Path) -> dict[str, str]:
    return {"prompt_source": "concept", "prompt_path": str(path)}


def prepared(tmp_path: Path, content: Any, told: list[Message], **given: Any) -> PreparedRun:
    """A run of such a configuration, checked."""
    (tmp_path / "config.json").write_text(json.dumps(content))
    adopted = adopt(read_settings_file(tmp_path / "config.json", told.append))
    values = {"preview_every": 0, "output": str(tmp_path / "runs"), **adopted.settings, **given}
    return prepare_run(TrainConfig.from_dict(values), FakeHost(tmp_path / "embeddings"))


def test_each_concept_is_a_subset(tmp_path: Path, concepts: list[dict[str, Any]]) -> None:
    """With its own; what of it cannot be had is named."""
    told: list[Message] = []
    run = prepared(tmp_path, {**OWN, "concepts": concepts}, told)
    cats, dogs, prompted = run.subsets
    assert [subset.name for subset in run.subsets] == ["cats", "dogs", "prompted"]
    assert [subset.config.repeats for subset in run.subsets] == [3, 1, 1]
    assert [subset.source.weight for subset in run.subsets] == [1.0, 0.5, 1.0]
    assert (cats.lines, prompted.lines) == (("[filewords]",), ("a drawing of zworble",))
    assert (cats.config.shuffle_tags, cats.config.keep_tokens, cats.config.tag_dropout) == (True, 2, 0.0)
    assert (dogs.config.tag_dropout, dogs.config.width, dogs.config.height) == (0.5, 64, 128)
    assert {image.caption.text for image in cats.images} == {"zworble, cats, b, c"}
    names = ["concepts.image.enable_fixed_rotate", "concepts.balancing"]
    assert said(run.notices, "peers.concepts_left", names=names)


@pytest.mark.parametrize("how", ["concept_file_name", "dataset_config"])
def test_concepts_of_a_file_of_their_own(tmp_path: Path, concepts: list[dict[str, Any]], how: str) -> None:
    """Named by OneTrainer's configuration, or given as the dataset config."""
    path = tmp_path / "concepts.json"
    path.write_text(json.dumps(concepts[:2]))
    content = {**OWN, "concepts": None, how: str(path)} if how == "concept_file_name" else OWN
    given = {} if how == "concept_file_name" else {how: str(path)}
    assert [subset.name for subset in prepared(tmp_path, content, [], **given).subsets] == ["cats", "dogs"]


def test_one_concept_is_the_run_itself(tmp_path: Path, concepts: list[dict[str, Any]]) -> None:
    """And others that are for something else are not trained on, and named."""
    concepts[1]["type"], concepts[2]["type"] = "VALIDATION", "PRIOR_PREDICTION"
    told: list[Message] = []
    run = prepared(tmp_path, {**OWN, "concepts": concepts}, told)
    assert [subset.name for subset in run.subsets] == [""]
    assert (run.config.repeats, run.config.template) == (3, "none")
    assert {"concepts[1].type=VALIDATION", "concepts[2].type=PRIOR_PREDICTION"} <= set(told[0].values["names"])


def test_what_is_wrong_in_a_concept_is_told_with_its_place(tmp_path: Path, concepts: list[dict[str, Any]]) -> None:
    """All of it, and nothing starts."""
    concepts[1]["path"], concepts[0]["text"]["keep_tags_count"] = str(tmp_path / "nowhere"), -1
    with refused("settings.in_dataset_config"):
        prepared(tmp_path, {**OWN, "concepts": concepts}, [])
    concepts[0]["text"]["keep_tags_count"] = 1
    with refused("images.folder_missing"):
        prepared(tmp_path, {**OWN, "concepts": concepts}, [])
