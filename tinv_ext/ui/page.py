"""The whole page: training, the images before it, the finished embeddings after it, and the runs of before."""

from __future__ import annotations

import gradio as gr

from tinv_ext.ui import training_tab
from tinv_ext.ui.context import PageContext
from tinv_ext.ui.mount import mount

TITLE, ID = "Textual Inversion", "tinv"


def build(context: PageContext | None = None) -> gr.Blocks:
    """All parts, each in a tab of its own."""
    context = context or PageContext()
    with gr.Blocks(analytics_enabled=False) as blocks, gr.Tabs():
        with gr.Tab("Train", elem_id="tinv_tab_train"):
            training_tab.build(context)
        with gr.Tab("Prepare", elem_id="tinv_tab_prepare"):
            mount("prepare", context)
        with gr.Tab("Embeddings", elem_id="tinv_tab_embeddings"):
            mount("embeddings", context)
        with gr.Tab("Runs", elem_id="tinv_tab_runs"):
            mount("runs", context)
    return blocks
