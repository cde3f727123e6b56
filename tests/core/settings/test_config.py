"""The settings: one dataclass that takes values by name and tells all that is wrong with them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.messages import refused, said
from tinv_ext.core.errors import InputError
from tinv_ext.core.settings import DEFAULTS, GROUPS, SETTINGS, TrainConfig

NUMBERS = [name for name, about in SETTINGS.items() if about.minimum is not None]


def of(name: str) -> st.SearchStrategy[Any]:
    """Values that a setting takes."""
    about, default = SETTINGS[name], DEFAULTS[name]
    if isinstance(default, bool):
        return st.booleans()
    if about.choices:
        return st.sampled_from(tuple(about.choices))
    if isinstance(default, float):
        return st.floats(about.minimum, about.maximum)
    if isinstance(default, int):
        step = about.multiple or 1
        return st.integers(int(about.minimum or 0) // step, int(about.maximum or 0) // step).map(lambda n: n * step)
    return st.just(default) if about.check else st.text(max_size=20)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.fixed_dictionaries({}, optional={name: of(name) for name in DEFAULTS}))
def test_values_survive_the_way_to_a_dictionary_and_back(values: dict[str, Any]) -> None:
    """from_dict(to_dict(c)) == c, for whatever the settings take; each value keeps its type."""
    if "preset" in values:  # they may contradict it
        values = {name: value for name, value in values.items() if name not in ("optimizer", "learning_rate")}
    config = TrainConfig.from_dict({**values, "name": "zworble"})
    again = TrainConfig.from_dict(config.to_dict())
    assert again == config
    assert all(type(value) is type(DEFAULTS[name]) for name, value in again.to_dict().items())


def problems(**values: Any) -> list[str]:
    """What is wrong with these values."""
    return TrainConfig.read({"name": "zworble", **values})[1]


def only(id: str, wanted: dict[str, Any], **values: Any) -> None:  # noqa: A002
    """That exactly one thing is wrong with the settings `values`: the message `id` with the values `wanted`."""
    told = problems(**values)
    assert len(told) == 1
    assert said(told, id, **wanted), told


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_both_limits(name: str) -> None:
    """At its limits a value is taken, one beyond is refused with the limit in plain digits."""
    about = SETTINGS[name]
    assert about.minimum is not None
    assert about.maximum is not None
    step = about.multiple or 1
    for limit, beyond, id, key in (  # noqa: A001
        (about.minimum, about.minimum - step, "settings.too_small", "least"),
        (about.maximum, about.maximum + step, "settings.too_large", "most"),
    ):
        assert problems(**{name: limit}) == []
        if about.zero and beyond == 0:
            continue  # means that somebody else decides
        digits = str(limit) if isinstance(limit, int) else f"{limit:g}"
        only(id, {"name": name, key: digits, "value": beyond}, **{name: beyond})
        assert digits in problems(**{name: beyond})[0]


@pytest.mark.parametrize("name", [name for name, about in SETTINGS.items() if about.multiple])
def test_sizes_are_multiples_and_one_is_offered(name: str) -> None:
    """A size between two steps is refused, with a size that is taken."""
    only("settings.not_a_multiple", {"name": name, "multiple": 8, "nearest": 512}, **{name: 516})


@pytest.mark.parametrize("name", [name for name, about in SETTINGS.items() if about.choices])
def test_a_choice_names_the_choices(name: str) -> None:
    """Anything else is refused with the list."""
    only("settings.not_a_choice", {"name": name, "choices": tuple(SETTINGS[name].choices)}, **{name: "purple"})
    assert all(choice in problems(**{name: "purple"})[0] for choice in SETTINGS[name].choices)


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("steps", "500", 500),
        ("steps", " 500.0 ", 500),
        ("steps", 500.0, 500),
        ("tag_dropout", "1e-1", 0.1),
        ("tag_dropout", 1, 1.0),
        ("shuffle_tags", "Yes", True),
        ("shuffle_tags", "off", False),
        ("shuffle_tags", 1, True),
        ("learning_rate", 0.005, "0.005"),
        ("seed", str(2**63 - 1), 2**63 - 1),
    ],
)
def test_numbers_come_as_text_too(name: str, text: Any, value: Any) -> None:
    """What a flag, a file or a page gives means the same value."""
    found = getattr(TrainConfig.from_dict({"name": "zworble", name: text}), name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "name, value",
    [
        ("steps", "many"),
        ("steps", 1.5),
        ("steps", None),
        ("steps", True),
        ("steps", [1]),
        ("steps", math.inf),
        ("steps", 10**400),
        ("steps", "1e999"),
        ("tag_dropout", 10**400),
        ("tag_dropout", "nan"),
        ("shuffle_tags", 2),
        ("shuffle_tags", "maybe"),
        ("images", None),
        ("images", True),
        ("caption_regex", "(a"),
        ("learning_rate", "fast"),
        ("name", "a/b"),
    ],
)
def test_what_is_no_value_is_told(name: str, value: Any) -> None:
    """One sentence that names the setting by its label and its name; no exception of Python's."""
    (told,) = problems(**{name: value})
    assert told.startswith(f"{SETTINGS[name].label} ({name})")


def test_unknown_names_come_with_a_suggestion() -> None:
    """A mistyped name is refused; nothing is guessed."""
    only("settings.unknown_near", {"name": "learnin_rate", "near": "learning_rate"}, learnin_rate="1")
    only("settings.unknown_near", {"name": "keep_copy", "near": "keep_snapshots"}, keep_copy=1)
    only("settings.unknown", {"name": "qqq"}, qqq=1)


def test_all_problems_are_told_at_once() -> None:
    """Each wrong value has its sentence, and what is right is taken."""
    with pytest.raises(InputError) as caught:
        TrainConfig.from_dict(
            {"name": "", "steps": 0, "width": 3, "resize_mode": "x", "learning_rate": "a,b", "nmae": 1}
        )
    assert len(caught.value.problems) == 7
    config, _ = TrainConfig.read({"name": "zworble", "steps": 7, "width": 3})
    assert (config.steps, config.width) == (7, DEFAULTS["width"])


def test_every_setting_says_what_it_is() -> None:
    """Label and help are there, labels are no two alike, the group is one of the groups, the default is taken."""
    assert len({about.label for about in SETTINGS.values()}) == len(SETTINGS)
    for name, about in SETTINGS.items():
        assert about.label
        assert about.help.endswith((".", "…"))
        assert about.group in GROUPS
        assert name == "name" or problems(**{name: DEFAULTS[name]}) == []


@pytest.mark.parametrize(
    "name", ["init_text", "caption_prefix", "class_tokens", "class_prompt", "preview_prompt", "title"]
)
def test_half_a_character_is_refused(name: str) -> None:
    """As JSON can hold it, and no tokenizer or file takes it; a whole one of two halves is welcome."""
    with refused("settings.half_character", name=name):
        TrainConfig.from_dict({name: "a \ud83d cat"})
    with pytest.raises(InputError) as caught:
        TrainConfig.from_dict({"words": [{"name": "zibbo", "init_text": "\ud800"}]})
    assert "half a character" in " ".join(caught.value.problems)
    assert getattr(TrainConfig.from_dict({name: "a \U0001f600 cat"}), name) == "a \U0001f600 cat"
