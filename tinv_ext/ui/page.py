"""The whole page: training, and the embeddings that there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from tinv_ext.library.library import Library
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.ui import embeddings, tab


def build(
    jobs: JobQueue,
    folder: Path,
    host: Callable[[], Any],
    confine: Callable[[Any], tab.Check | None] = lambda request: None,
    around: tab.Around | None = None,
) -> gr.Blocks:
    """Both parts, each in a tab of its own: `folder` is that of the embeddings, the rest as for `tab.build`."""
    shelf = Library(folder, host, jobs.logs)
    with gr.Blocks(analytics_enabled=False) as blocks, gr.Tabs():
        with gr.Tab("Train", elem_id="tinv_tab_train"):
            tab.build(jobs, confine, around)
        with gr.Tab("Embeddings", elem_id="tinv_tab_embeddings") as opened:
            embeddings.place(shelf, opened)
    return blocks
