"""The part "Train" of the page: what a run is started with at the left, the run at the right."""

from __future__ import annotations

import gradio as gr

from tinv_ext.ui.context import PageContext
from tinv_ext.ui.mount import mount


def build(context: PageContext) -> gr.Blocks:
    """Both are parts of our own: javascript/tinv/train and javascript/tinv/live."""
    with gr.Blocks(analytics_enabled=False) as blocks, gr.Row(elem_id="tinv"):
        with gr.Column(scale=5):
            mount("train", context)
        with gr.Column(scale=5):
            mount("live", context)
    return blocks
