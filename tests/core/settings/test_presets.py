"""Presets and purposes: what they choose, what goes before them, and what contradicts them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.messages import ids, refused
from tinv_ext.core.preflight.plan import make_plan
from tinv_ext.core.settings import DEFAULTS, SETTINGS, TrainConfig
from tinv_ext.core.settings.config_file import from_file, to_file
from tinv_ext.core.settings.presets import CLASSIC, PRESETS, PURPOSES, preset_values
from tinv_ext.core.training.optimizers import try_optimizer

COMMON = {"preset": "classic", "optimizer": "adamw", "learning_rate": "0.005", "steps": 1000, "batch_size": 1}


def read(**given: Any) -> TrainConfig:
    """The settings that follow from those given."""
    return TrainConfig.from_dict({"name": "zworble", **given})


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_set_of_settings_that_a_run_can_have(preset: str, purpose: str) -> None:
    """Every row: its names are settings, its values are as those want them, and they go together."""
    config, values = read(preset=preset, purpose=purpose), preset_values(preset, purpose)
    assert values.keys() <= SETTINGS.keys()
    assert {name: getattr(config, name) for name in values} == values
    assert all(type(value) is type(DEFAULTS[name]) for name, value in values.items())
    assert make_plan(config, 0, resumed=False).steps == config.steps
    try_optimizer(config.optimizer, config.optimizer_options)


def test_the_defaults_are_those_of_the_usual_preset() -> None:
    """For whoever sets nothing; the fields have the values of classic, which are those from before there were any."""
    assert read().to_dict() == {**DEFAULTS, "name": "zworble"}
    assert read(preset=DEFAULTS["preset"], purpose=DEFAULTS["purpose"]) == read()
    assert read(preset="classic") == TrainConfig(name="zworble")
    assert DEFAULTS["preset"] == "fast"
    assert PRESETS["classic"] == {}
    assert {name: CLASSIC[name] for name in COMMON.keys() & CLASSIC.keys()} == {
        name: value for name, value in COMMON.items() if name in CLASSIC
    }


def test_what_is_set_goes_before_the_preset() -> None:
    """Under any name, as text or number, also where it is the setting's default."""
    fast = read(preset="fast")
    assert (fast.optimizer, fast.batch_size) == ("ong", 1)
    changed = read(preset="fast", train_batch_size="2", timestep_balance=0)
    assert (changed.batch_size, changed.timestep_balance, changed.optimizer) == (2, 0.0, "ong")
    assert changed == fast.but(batch_size=2, timestep_balance=0.0)
    assert read(preset="kohya", learning_rate="1e-3").learning_rate == "1e-3"


def test_a_purpose_chooses_template_vectors_and_budget() -> None:
    """Unless they are set; the captions of a dataset config are prompts all the same."""
    style = read(preset="fast", purpose="style")
    assert (style.template, style.num_vectors, style.steps) == ("style", 4, 2 * read(preset="fast").steps)
    assert read(purpose="style", num_vectors=1, steps=7).but(template="subject", purpose="object") == read(steps=7)
    assert read(purpose="style", dataset_config="a.toml").template == "none"
    assert read(purpose="negative").preview_negative_prompt == "[name]"


@pytest.mark.parametrize("given", [{"learning_rate": "0.01"}, {"optimizer": "lion"}, {"optimizer_type": "Lion"}])
def test_a_rate_or_an_optimizer_alone_means_classic(given: dict[str, Any]) -> None:
    """As command lines from before there were presets, and those of other trainers, mean it."""
    config = read(**given)
    assert config.preset == "classic"
    assert {name: getattr(config, name) for name in CLASSIC} | dict.fromkeys(("optimizer", "learning_rate"), 0) == {
        **CLASSIC,
        "optimizer": 0,
        "learning_rate": 0,
    }


@pytest.mark.parametrize(
    ("given", "id", "values"),
    [
        ({"preset": "fast", "optimizer": "adamw"}, "settings.preset_without_rate", {"optimizer": "adamw"}),
        ({"preset": "classic", "optimizer": "ong"}, "settings.preset_without_rate", {"usual": "0.005"}),
        ({"preset": "fast", "learning_rate": "0.005"}, "settings.preset_with_rate", {"optimizer": "ong"}),
        ({"preset": "fast", "learn_rate": "1:100, 1e-4"}, "settings.preset_with_rate", {"rate": "1:100, 1e-4"}),
        (
            {"preset": "kohya", "optimizer": "ong", "learning_rate": "1"},
            "settings.preset_with_arguments",
            {"optimizer": "ong", "arguments": "weight_decay=0.01"},
        ),
        ({"preset": "best"}, "settings.not_a_choice", {"value": "best"}),
        ({"purpose": "art"}, "settings.not_a_choice", {"value": "art"}),
    ],
)
def test_what_contradicts_a_preset_is_told(given: dict[str, Any], id: str, values: dict[str, Any]) -> None:  # noqa: A002
    """With both settings and what to do; with whatever else is wrong."""
    with refused(id, **values):
        read(**given)
    assert id in ids(TrainConfig.read({**given, "steps": -1})[1])


@pytest.mark.parametrize(
    "given",
    [
        {"preset": "fast", "optimizer": "adamw", "learning_rate": "0.005"},
        {"preset": "fast", "learning_rate": "0.5"},
        {"preset": "fast", "optimizer": "prodigy"},
        {"preset": "kohya", "optimizer": "ong", "learning_rate": "1", "optimizer_args": ""},
        {"preset": "kohya", "optimizer": "lion", "learning_rate": "1e-4"},
        {"preset": "classic", "optimizer": "lion"},
        {"preset": "classic", "learning_rate": "1"},
        {"optimizer": "ong"},
    ],
)
def test_what_goes_together_is_taken(given: dict[str, Any]) -> None:
    """Both set, a rate of the same kind, or no preset asked for."""
    config = read(**given)
    assert all(getattr(config, name) == value for name, value in given.items())


def test_a_run_keeps_the_values_whatever_becomes_of_its_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """config.json has all of them; one from before there were presets is classic, also in settings that came later."""
    config = read(preset="fast")
    content = to_file(config, {})
    monkeypatch.setitem(PRESETS, "fast", {"optimizer": "lion", "steps": 3})  # type: ignore[arg-type]
    assert TrainConfig.from_dict(from_file(content)["settings"]) == config
    old = {name: value for name, value in TrainConfig(name="zworble").to_dict().items() if name in ("name", "seed")}
    before = TrainConfig.from_dict(from_file({"version": 2, "settings": old, "facts": {}})["settings"])
    assert {name: getattr(before, name) for name in CLASSIC} == dict(CLASSIC)
