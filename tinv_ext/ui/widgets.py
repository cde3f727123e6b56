"""A gradio component for each setting, made from what the setting says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from tinv_ext.core.settings import DEFAULTS, SETTINGS

LONG = ("preview_prompt",)  # texts with more than one line
_SLIDER = 150  # numbers up to this, and those with a step of their own, are sliders


def widget(name: str, value: Any = None, choices: Sequence[str] = ()) -> gr.components.Component:
    """The control of one setting; `value` stands in for the default. `choices` are offered, and others may be typed."""
    about, default = SETTINGS[name], DEFAULTS[name]
    value = default if value is None else value
    shared = {"label": about.label, "value": value, "elem_id": f"tinv_{name}"}
    if offered := choices or about.suggestions:
        return gr.Dropdown(choices=list(offered), info=about.help, allow_custom_value=True, **shared)
    if about.choices:
        return gr.Radio(choices=list(about.choices), info=about.help, **shared)
    if isinstance(default, bool):
        return gr.Checkbox(info=about.help, **shared)
    if isinstance(default, str):
        return gr.Textbox(info=about.help, lines=3 if name in LONG else 1, **shared)
    if about.maximum is not None and (about.multiple or about.maximum <= _SLIDER):
        step = about.multiple or (1 if isinstance(default, int) else 0.05)
        least = 0 if about.zero else about.minimum
        return gr.Slider(minimum=least, maximum=about.maximum, step=step, info=about.help, **shared)
    return gr.Number(precision=0 if isinstance(default, int) else None, info=about.help, **shared)
