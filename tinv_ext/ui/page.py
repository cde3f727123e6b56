"""The whole page: training, the images before it, and the finished embeddings after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from tinv_ext.library.library import Library
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.ui import embeddings_tab, prepare_tab, training_tab
from tinv_ext.ui.context import PageContext

TITLE, ID = "Textual Inversion", "tinv"


def build(queue: JobQueue, folder: Path, host: Callable[[], Any], context: PageContext | None = None) -> gr.Blocks:
    """All parts, each in a tab of its own; `folder` is that of the embeddings."""
    context = context or PageContext()
    library = Library(folder, host, queue.logs)
    with gr.Blocks(analytics_enabled=False) as blocks, gr.Tabs():
        with gr.Tab("Train", elem_id="tinv_tab_train"):
            training_tab.build(queue, context)
        with gr.Tab("Prepare", elem_id="tinv_tab_prepare") as prepare:
            prepare_tab.build(prepare, context)
        with gr.Tab("Embeddings", elem_id="tinv_tab_embeddings") as tab:
            embeddings_tab.build(library, tab, context)
    return blocks
