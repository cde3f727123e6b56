"""Presets: named sets of settings, one row of `PRESETS` each; and what a word is for, a row of `PURPOSES`.

A row says in what a preset differs from `classic`. What is set explicitly goes before the preset, and the preset before
what the purpose is best served with. A run keeps the values that follow, so that it stays the same whatever becomes of
a preset. To add one: a row, and the Chinese of its name (`choice.<name>` in `localizations/zh_CN/settings.json`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.training.optimizer_rows import optimizer_row
from tinv_ext.core.training.schedules import parse_schedule

Values = Mapping[str, Any]

USUAL = "fast"
"""The preset of whoever chooses none."""
CLASSIC: Values = {
    "steps": 1000,
    "optimizer": "adamw",
    "optimizer_args": "",
    "learning_rate": "0.005",
    "lr_scheduler": "constant",
    "scale_lr": False,
    "batch_size": 1,
    "gradient_accumulation_steps": 1,
    "clip_mode": "disabled",
    "clip_value": "0.1",
    "max_vector_norm": 0.0,
    "ema_decay": 0.0,
    "ema_inv_gamma": 9.0,
    "downweight_odd_images": False,
    "name_background": False,
    "timestep_sampling": "uniform",
    "timestep_balance": 0.0,
    "evaluate_every": 50,
    "stop_when_done": "off",
    "patience": 60,
}
"""The WebUI's own trainer: AdamW at 0.005, without decay."""

_NATURAL = {  # the online natural gradient; what each part of it brings is measured in docs/toy.md
    "optimizer": "ong",
    "learning_rate": "1",
    "ema_decay": 0.9999,
    "ema_inv_gamma": 6.0,
    "downweight_odd_images": True,
    "name_background": True,
    "timestep_sampling": "stratified",
    "timestep_balance": 1.0,
    "max_vector_norm": 3.0,
    "stop_when_done": "auto",
    "patience": 120,
}

PRESETS: Mapping[str, Values] = {
    "fast": {**_NATURAL, "steps": 400, "evaluate_every": 60},
    "thorough": {
        **_NATURAL,
        "steps": 400,
        "batch_size": 4,
        "evaluate_every": 15,
        "patience": 240,
    },
    "classic": {},
    # sd-scripts ddfb38e, docs/train_textual_inversion.md, and its defaults where that is silent; in 32 bits
    "kohya": {
        "steps": 1600,
        "optimizer_args": "weight_decay=0.01",
        "learning_rate": "1e-6",
        "clip_mode": "norm",
        "clip_value": "1.0",
    },
    # diffusers 066af65, examples/textual_inversion/README.md, and its defaults where that is silent
    "diffusers": {
        "steps": 3000,
        "optimizer_args": "weight_decay=0.01",
        "learning_rate": "5e-4",
        "scale_lr": True,
        "gradient_accumulation_steps": 4,
    },
}
PURPOSES: Mapping[str, Values] = {
    "object": {},
    "person": {"num_vectors": 2},
    "style": {"num_vectors": 4, "template": "style"},
    "negative": {
        "num_vectors": 4,
        "template": "style",
        "preview_prompt": "a photo of a person",
        "preview_negative_prompt": "[name]",
    },
}
BUDGETS: Mapping[str, float] = {"person": 1.5, "style": 2.0}
"""How many times a preset's steps a word for a purpose takes; 1 where there is no entry."""

_MEANING = ("optimizer", "learning_rate")  # of which neither means anything without the other
_UNCHOSEN = "classic"  # what is meant where one of them is set and no preset is


def chosen_preset(given: Values) -> str:
    """The preset of settings by name: the one that they name, else the usual one.

    Without a preset, a learning rate or an optimizer means `classic`, to which all of them were given before there
    were presets, and those of other trainers are.
    """
    if "preset" in given:
        return str(given["preset"])
    return _UNCHOSEN if any(name in given for name in _MEANING) else USUAL


def preset_values(preset: str, purpose: str) -> dict[str, Any]:
    """All settings that a preset and a purpose choose, by name."""
    values = {**PURPOSES[purpose], **CLASSIC, **PRESETS[preset]}
    return {**values, "steps": round(values["steps"] * BUDGETS.get(purpose, 1.0))}


def contradictions(given: Values) -> list[Message]:
    """Optimizer and learning rate that are set beside a preset that is, and do not go with the rest of it."""
    preset = str(given.get("preset", ""))
    if preset not in PRESETS:
        return []
    values = {**CLASSIC, **PRESETS[preset]}
    optimizer = str(given.get("optimizer", values["optimizer"]))
    own, meant = optimizer_row(optimizer).rate, optimizer_row(values["optimizer"]).rate
    told = {"preset": preset, "optimizer": optimizer, "usual": values["learning_rate"]}
    arguments = values["optimizer_args"]
    if own != meant and arguments and "optimizer_args" not in given and "learning_rate" in given:
        return [
            message(
                "settings.preset_with_arguments",
                'The preset {preset} has optimizer arguments, "{arguments}", which are not meant for the optimizer '
                "{optimizer}. Set optimizer_args, too (empty for none), or leave the optimizer to the preset.",
                **told,
                arguments=arguments,
            )
        ]
    if "learning_rate" not in given:
        if own == meant:
            return []
        return [
            message(
                "settings.preset_without_rate",
                "The preset {preset} has the learning rate {usual}, which means something else to the optimizer "
                "{optimizer}. Set learning_rate, too, or leave the optimizer to the preset.",
                **told,
            )
        ]
    rates = _rates(str(given["learning_rate"]))
    if "optimizer" in given or meant == "step" or all(_LEAST <= rate <= 1 / _LEAST for rate in rates):
        return []
    return [
        message(
            "settings.preset_with_rate",
            'The learning rate "{rate}" does not go with the preset {preset}: to its optimizer, {optimizer}, it is a '
            "factor, {usual} as a rule. Remove learning_rate, or choose the preset classic.",
            **told,
            rate=given["learning_rate"],
        )
    ]


_LEAST = 0.03  # of a factor; below it, what was meant is a rate of AdamW


def _rates(text: str) -> list[float]:
    try:
        return [rate for rate, _ in parse_schedule(text).pieces]
    except InputError:
        return []  # told with the setting
