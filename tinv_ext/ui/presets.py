"""Choosing a preset or a purpose on the page: the controls show at once what follows, to be changed from there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from tinv_ext.core.settings import DEFAULTS
from tinv_ext.core.settings.presets import CLASSIC, PURPOSES, preset_values


def build(controls: Mapping[str, gr.components.Component]) -> None:
    """Have the controls of settings by name follow those of preset and purpose, when a person changes these."""
    for_purpose = [*dict.fromkeys(name for values in PURPOSES.values() for name in values), "steps"]
    chosen = [controls["preset"], controls["purpose"]]
    for name, filled in (("preset", list(CLASSIC)), ("purpose", for_purpose)):
        control: Any = controls[name]
        control.input(_values_of(filled), inputs=chosen, outputs=[controls[one] for one in filled])


def _values_of(names: list[str]) -> Callable[[str, str], list[Any]]:
    def following(preset: str, purpose: str) -> list[Any]:
        values = {**DEFAULTS, **preset_values(preset, purpose)}
        return [values[name] for name in names]

    return following
