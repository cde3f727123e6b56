"""The tables of several words: in every form that they come in, and what is wrong in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.messages import ids, said
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.peers.onetrainer_file import from_onetrainer
from tinv_ext.core.settings.words import WordSettings

TABLES: list[dict[str, Any]] = [
    {"name": "cat-x1", "init_text": "cat", "images": "photos"},
    {"name": "<dog-y2>", "num_vectors": "4", "lr_factor": 0.5, "stop_training_after": 30},
]
TOML = """
[[words]]
name = "cat-x1"
init_text = "cat"
images = "photos"
[[words]]
placeholder = "<dog-y2>"
token_count = 4
lr_factor = 0.5
stop_training_after = 30
"""


@pytest.mark.parametrize("given", [TABLES, json.dumps(TABLES), json.dumps({"words": TABLES}), TOML])
def test_tables_come_in_every_form(given: Any) -> None:
    """A list, JSON or TOML, by OneTrainer's names, too; what a table does not say is as the run says."""
    config = TrainConfig.from_dict({"words": given, "init_text": "thing", "num_vectors": 2})
    assert config.name == "cat-x1"
    one, other = config.word_settings
    assert one == WordSettings("cat-x1", "cat", 2, own={"images": "photos"})
    assert other == WordSettings("dog-y2", "thing", 4, angle_brackets=True, lr_factor=0.5, stop_training_after=30)
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert config.bare("a <dog-y2> and a cat-x1") == "a dog-y2 and a cat-x1"


@pytest.mark.parametrize("given", ["", "  ", [], None])
def test_no_tables_are_one_word(given: Any) -> None:
    """The run's own."""
    config = TrainConfig.from_dict({"name": "zibbo", "num_vectors": 3, "words": given})
    assert config.word_settings == (WordSettings("zibbo", "*", 3),)


def test_the_name_of_the_run_is_a_word() -> None:
    """One of those in the list, which then comes first, or one of its own."""
    names = [TrainConfig.from_dict({"words": TABLES, "name": name}).names for name in ("dog-y2", "third-z3")]
    assert names == [["dog-y2", "cat-x1"], ["third-z3", "cat-x1", "dog-y2"]]


def test_a_negative_word_follows_its_word() -> None:
    """DreamArtist's names, for all words or for one."""
    given = {"words": [{"name": "cat-x1", "lr_factor": 2}, {"name": "dog-y2", "use_negative": False}]}
    config = TrainConfig.from_dict({**given, "use_negative": True, "nvpt_neg": 6, "neg_lr_w": 0.5})
    assert config.names == ["cat-x1", "cat-x1-neg", "dog-y2"]
    assert config.word_settings[1] == WordSettings("cat-x1-neg", "*", 6, lr_factor=1.0, negative_of="cat-x1")


def test_everything_wrong_is_told_at_once() -> None:
    """With the place of each, and the rest as it is."""
    tables = [
        {"name": "a-1", "steps": 3, "lr_factor": -1},
        {"name": "A-1", "learning_rate": "fast", "init_txt": "cat"},
        {"train": "perhaps"},
        "b-2",
    ]
    config, problems = TrainConfig.read({"words": tables})
    assert set(ids(problems)) == {"settings.in_words", "settings.words_differ_in_case"}
    texts = [str(problem) for problem in problems]
    for part in ('"steps"', "lr_factor", "fast", "init_text", "train", "no name", "no table"):
        assert any(part in text for text in texts), part
    assert config.name == "a-1"


@pytest.mark.parametrize(
    ("names", "name", "told"),
    [
        (("cat-x1", "cat-x1", "cat-x1"), "", "settings.same_word_twice"),
        (("cat-x1", "dog", "CAT-x1"), "", "settings.words_differ_in_case"),
        (("cat-x1", "dog"), "Dog", "settings.words_differ_in_case"),
    ],
)
def test_the_same_word_twice_is_told_in_one_sentence(names: tuple[str, ...], name: str, told: str) -> None:
    """Of the list, or of the list and the run; what is left can be checked, and lacks nothing that was given."""
    tables = [{"name": one, **({"images": "photos"} if place else {})} for place, one in enumerate(names)]
    config, problems = TrainConfig.read({"words": tables, **({"name": name} if name else {})})
    assert ids(problems) == [told]
    assert len({one.lower() for one in config.names}) == len(config.names)
    assert config.word_settings[0].own == {"images": "photos"}
    assert TrainConfig.read(config.to_dict()) == (config, [])


@pytest.mark.parametrize("given", ["cats", "[[words", '{"a": 1}', 3, "[1"])
def test_what_is_no_list_of_tables_is_told(given: Any) -> None:
    """In a sentence."""
    assert said(TrainConfig.read({"words": given})[1], "settings.words_invalid")


def test_the_end_of_onetrainers_only_embedding_is_that_of_the_run() -> None:
    """Or its epochs are, of which it always has some, where these end first."""
    embedding = {"placeholder": "<cat>", "stop_training_after": 9, "stop_training_after_unit": "STEP"}
    values, left = from_onetrainer({"embedding": embedding, "epochs": 100})
    config = TrainConfig.from_dict(values)
    assert (config.names, config.max_train_epochs, left) == (["cat"], 100, [])
    assert [word.stop_training_after for word in config.word_settings] == [9]
    assert from_onetrainer({"embedding": embedding})[0]["steps"] == 9


def test_onetrainers_additional_embeddings_are_words() -> None:
    """Beside its embedding, each with its own end; what it means by an output embedding is told."""
    second = {"placeholder": "<dog>", "token_count": 2, "train": False, "is_output_embedding": True}
    first = {"placeholder": "<cat>", "initial_embedding_text": "cat", "stop_training_after": 9}
    values, left = from_onetrainer(
        {"embedding": {**first, "stop_training_after_unit": "STEP"}, "additional_embeddings": [second], "epochs": 5}
    )
    config = TrainConfig.from_dict(values)
    assert [(one.name, one.init_text, one.num_vectors) for one in config.word_settings] == [
        ("cat", "cat", 1),
        ("dog", "*" if config.init_text == "*" else config.init_text, 2),
    ]
    assert [(one.train, one.stop_training_after) for one in config.word_settings] == [(True, 9), (False, 0)]
    assert (config.max_train_epochs, left) == (5, ["additional_embeddings[0].is_output_embedding"])
