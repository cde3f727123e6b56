"""Arguments written as text: those of kohya's users mean what they mean there, and nothing wrong is passed over."""

from __future__ import annotations

import pytest

from tests.messages import refused
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.arguments import read_arguments


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", {}),
        ("weight_decay=0.01 betas=.9,.999", {"weight_decay": 0.01, "betas": (0.9, 0.999)}),
        ("betas=(0.9, 0.99), eps=1e-6", {"betas": (0.9, 0.99), "eps": 1e-6}),
        (
            "decouple=True use_bias_correction=true safeguard_warmup = False",
            {"decouple": True, "use_bias_correction": True, "safeguard_warmup": False},
        ),
        ("relative_step=false; beta1=None", {"relative_step": False, "beta1": None}),
        ("eps=1e-30,1e-3 d0=1e-5\ngrowth_rate=1.02", {"eps": (1e-30, 1e-3), "d0": 1e-5, "growth_rate": 1.02}),
        ("mode=fast name='two words'", {"mode": "fast", "name": "two words"}),
    ],
)
def test_arguments_are_read(text: str, meant: dict[str, object]) -> None:
    """As Python literals, with some freedom in between."""
    assert read_arguments(text) == meant


@pytest.mark.parametrize("text", ["0.01", "weight_decay", "weight_decay=", "0.1 eps=1e-8", "=3"])
def test_what_is_no_argument_is_told(text: str) -> None:
    """With an example."""
    with refused("settings.not_an_argument"):
        read_arguments(text)


def test_an_argument_twice_is_told() -> None:
    """Neither silently wins."""
    with refused("settings.argument_twice", name="eps"):
        read_arguments("eps=1 eps=2")


def test_the_setting_is_checked() -> None:
    """When settings are read, with all other problems."""
    with refused("settings.invalid", name="optimizer_args"):
        TrainConfig.from_dict({"optimizer_args": "decay"})
    assert TrainConfig(optimizer_args="weight_decay=0.1").optimizer_options == {"weight_decay": 0.1}
