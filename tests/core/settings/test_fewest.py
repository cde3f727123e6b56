"""Settings without what follows from preset and purpose: they say the same."""

from __future__ import annotations

from typing import Any

import pytest

from tinv_ext.core.settings import SETTINGS, TrainConfig
from tinv_ext.core.settings.fewest import fewest
from tinv_ext.core.settings.presets import PRESETS, PURPOSES

CHANGES: list[dict[str, Any]] = [
    {},
    {"steps": 7, "images": "a"},
    {"optimizer": "adamw", "learning_rate": "0.005"},
    {"optimizer": "lion", "learning_rate": "1"},
    {"optimizer": "ong", "learning_rate": "1", "optimizer_args": ""},
    {"optimizer": "adamw", "learning_rate": "1e-4", "optimizer_args": "weight_decay=0.1"},
    {"words": "name=zibbo init_text=cat\nname=zibba init_text=dog"},
]


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("changes", CHANGES)
def test_the_fewest_settings_make_the_same_config(preset: str, purpose: str, changes: dict[str, Any]) -> None:
    """Whatever is set beside the preset, and also if it is what another preset has."""
    config, problems = TrainConfig.read({"preset": preset, "purpose": purpose, **changes})
    if problems:
        pytest.skip("which is refused in itself")
    said = fewest(config)
    assert TrainConfig.from_dict(said) == config
    assert len(said) <= len(changes) + 5


def test_what_follows_from_the_preset_is_not_among_them() -> None:
    """They are what a person would have said."""
    assert fewest(TrainConfig.from_dict({})) == {}
    assert fewest(TrainConfig.from_dict({"preset": "kohya", "steps": 5})) == {"preset": "kohya", "steps": 5}
    every = TrainConfig.from_dict({"preset": "thorough", "name": "zibbo"}).to_dict()
    assert every.keys() == SETTINGS.keys()
    assert fewest(TrainConfig.from_dict(every)) == {"preset": "thorough", "name": "zibbo"}
