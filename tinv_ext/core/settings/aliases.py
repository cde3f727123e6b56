"""Other names of settings, taken wherever values travel by name: config files, flags, the API, facts of older files.

Those of other programs are in `core/settings/peers`, a table for each. To accept another name, add a row there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.settings.peers import OPTIONS

TINV_0_1: Mapping[str, str] = {
    "vectors": "num_vectors",
    "weights": "init_embedding",
    "fit": "resize_mode",
    "word_in_front": "prepend_word",
    "use_alpha": "alpha_as_loss_weight",
    "learn_rate": "learning_rate",
    "accumulate": "gradient_accumulation_steps",
    "evaluation_pictures": "evaluation_images",
    "evaluation_draws": "evaluation_timesteps",
    "checkpoint_every": "save_state_every",
    "checkpoint_seconds": "save_state_seconds",
    "keep_copies": "keep_snapshots",
    "card_picture": "thumbnail",
}
"""What our own settings were called before config.json had a version."""

ALIASES: Mapping[str, str] = {
    **TINV_0_1,
    **{name: option.setting for name, option in OPTIONS.items() if option.setting not in ("", name)},
}
"""Every other name of one setting, with the name of the setting."""
CONVERSIONS: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {
    name: option.converts for name, option in OPTIONS.items() if option.converts and not option.command
}
"""Options of other programs that become settings of other names or values."""


def read_names(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Message]]:
    """`values` by the names of the settings, and a problem for each setting that comes twice with different values.

    Of two names of one setting the first counts. Values are the same if their texts are. What another program's option
    cannot mean is a problem, too.
    """
    current: dict[str, Any] = {}
    came_as: dict[str, str] = {}
    problems: list[Message] = []
    for given, value in values.items():
        try:
            meant = CONVERSIONS[given](value) if given in CONVERSIONS else {ALIASES.get(given, given): value}
        except InputError as error:
            problems += [problem for problem in error.problems if isinstance(problem, Message)]
            continue
        for name, setting in meant.items():
            if name in current and str(current[name]) != str(setting):
                problems.append(
                    message(
                        "settings.given_twice",
                        '"{first}" and "{second}" are the same setting but have different values. Keep only one of '
                        "them.",
                        first=came_as[name],
                        second=given,
                    )
                )
            current.setdefault(name, setting)
            came_as.setdefault(name, given)
    return current, problems


def current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` by the names of the settings. Where one comes twice the first counts, as in `read_names`."""
    return read_names(values)[0]


def overridden(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes` in their place, whatever names either comes by."""
    changed = current_names(changes)
    kept: dict[str, Any] = {}
    for given, value in values.items():
        meant = current_names({given: value})
        if not changed.keys() & meant.keys():
            kept[given] = value
        else:  # of a resolution, the height may remain
            kept.update({name: setting for name, setting in meant.items() if name not in changed})
    return {**kept, **changes}


def facts_by_current_names(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run, a state or an embedding, with the settings among them by their current names."""
    settings = facts.get("settings")
    return {**facts, "settings": current_names(settings)} if isinstance(settings, Mapping) else dict(facts)


def unknown_name(name: str, settings: Iterable[str]) -> Message:
    """That there is no such setting, with the name that is meant, if one is near."""
    near = get_close_matches(name, [*settings, *ALIASES, *OPTIONS], 1)
    if not near:
        return message("settings.unknown", 'There is no setting "{name}".', name=name)
    near_name = near[0] if near[0] in OPTIONS else ALIASES.get(near[0], near[0])
    return message(
        "settings.unknown_near", 'There is no setting "{name}". Did you mean "{near}"?', name=name, near=near_name
    )
