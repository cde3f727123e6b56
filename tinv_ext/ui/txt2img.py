"""The button that copies the values of the WebUI's txt2img tab into the settings of previews."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

# our settings by the elem_id of v1.10.1 modules/ui.py and modules/processing_scripts/{sampler,seed}.py
CONTROLS = {
    "txt2img_prompt": "preview_prompt",
    "txt2img_neg_prompt": "preview_negative_prompt",
    "txt2img_steps": "preview_steps",
    "txt2img_sampling": "preview_sampler",
    "txt2img_scheduler": "preview_scheduler",
    "txt2img_cfg_scale": "preview_cfg_scale",
    "txt2img_seed": "preview_seed",
    "txt2img_width": "preview_width",
    "txt2img_height": "preview_height",
}


def build(theirs: Mapping[str, gr.components.Component], ours: Mapping[str, gr.components.Component]) -> None:
    """Add it to the page: it copies `theirs`, by elem_id, into `ours`, by setting. Without `theirs` there is none."""
    pairs = [(component, ours[CONTROLS[key]]) for key, component in theirs.items() if key in CONTROLS]
    if not pairs:
        return
    button = gr.Button("Copy from txt2img", elem_id="tinv_from_txt2img")

    def copy(*values: Any) -> list[Any]:
        """A seed of -1 is left out: previews are compared with each other, so they need the same seed."""
        return [gr.update() if value == -1 or value is None else value for value in values]

    button.click(copy, inputs=[source for source, _ in pairs], outputs=[target for _, target in pairs])
