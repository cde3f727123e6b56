"""Old names of settings: taken wherever values travel by name, never in silence where they contradict a new one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.messages import ids, refused, said
from tinv_ext.cli import main as cli
from tinv_ext.cli.given import given_settings
from tinv_ext.core.errors import InputError
from tinv_ext.core.settings import ALIASES, DEFAULTS, SETTINGS, TrainConfig, current_names, overridden
from tinv_ext.core.settings.aliases import facts_by_current_names, read_names
from tinv_ext.server.allowed_paths import allow_only


def other(name: str) -> Any:
    """A value that the setting takes and that is not its default."""
    about, default = SETTINGS[name], DEFAULTS[name]
    if isinstance(default, bool):
        return not default
    if about.choices:
        return next(choice for choice in about.choices if choice != default)
    if about.check and about.suggestions:
        return next(iter(about.suggestions))
    return "0.7" if isinstance(default, str) else max(default, about.minimum or 0) + (about.multiple or 1)


def test_an_alias_is_no_setting_and_means_one() -> None:
    """Else one value would have two meanings."""
    assert not ALIASES.keys() & SETTINGS.keys()
    assert set(ALIASES.values()) <= SETTINGS.keys()


@pytest.mark.parametrize("alias", ALIASES)
def test_every_old_name_is_taken(alias: str) -> None:
    """In a dictionary of settings and as a flag; the value arrives at the setting."""
    name = ALIASES[alias]
    value = other(name)
    named = {} if name == "name" else {"name": "zworble"}
    assert getattr(TrainConfig.from_dict({**named, alias: value}), name) == value
    flag = f"--{alias.replace('_', '-')}"
    arguments = [flag] if value is True else [f"--no-{flag[2:]}"] if value is False else [flag, str(value)]
    arguments += ["--template=subject"] if alias == "token_string" else []  # else it would choose another
    given = given_settings(cli.read_options(["train", *arguments]))
    assert TrainConfig.from_dict({**named, **given}) == TrainConfig.from_dict({**named, name: value})


def test_old_flags_are_not_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """They work, but nobody should learn them."""
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    shown = capsys.readouterr().out
    assert "--learning-rate" in shown
    assert [alias for alias in ALIASES if f"--{alias.replace('_', '-')} " in shown] == []


def test_two_names_with_different_values_are_a_problem() -> None:
    """Named both; the same value twice is none."""
    with refused("settings.given_twice", first="learn_rate", second="learning_rate"):
        TrainConfig.from_dict({"name": "zworble", "learn_rate": "1", "learning_rate": "2"})
    _, problems = TrainConfig.read({"name": "zworble", "steps": 0, "learn_rate": "1", "learning_rate": "2"})
    assert len(problems) == 2
    assert said(problems, "settings.given_twice")
    assert TrainConfig.from_dict({"name": "zworble", "accumulate": "2", "gradient_accumulation_steps": 2})


def test_the_first_of_two_names_counts() -> None:
    """For the check of paths as for the run: a second name is no way around it."""
    values = {"weights": "/etc/passwd", "init_embedding": "in"}
    assert read_names(values)[0] == current_names(values) == {"init_embedding": "/etc/passwd"}
    assert ids(allow_only([])(values)) != []
    with pytest.raises(InputError):
        TrainConfig.from_dict({"name": "zworble", **values})


def test_what_is_given_later_overrides_whatever_its_name() -> None:
    """A flag over a file, changes over a run."""
    assert overridden({"learn_rate": "1", "steps": 3}, {"learning_rate": "2"}) == {"steps": 3, "learning_rate": "2"}
    assert overridden({"learning_rate": "1"}, {"learn_rate": "2"}) == {"learn_rate": "2"}


def test_settings_among_facts_get_their_current_names() -> None:
    """And nothing else changes: "weights" of a model is no setting."""
    facts = {"settings": {"fit": "crop", "seed": 1}, "weights": "x", "model": {"weights": 1}}
    assert facts_by_current_names(facts) == {**facts, "settings": {"resize_mode": "crop", "seed": 1}}
    assert facts_by_current_names({"settings": 3}) == {"settings": 3}
