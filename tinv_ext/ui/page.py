"""The whole page: training, the images before it, the finished embeddings after it, and the runs of before."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from tinv_ext.ui.context import PageContext
from tinv_ext.ui.mount import places

TITLE, ID = "Textual Inversion", "tinv"
PARTS = ("train", "live", "prepare", "embeddings", "runs")


def build(context: PageContext | None = None) -> gr.Tabs:
    """All parts, each in a tab of its own, in the gr.Blocks around them."""
    return _arranged(places(PARTS, context or PageContext()))


class Page:
    """The page as a WebUI's tab: it is built in the program's own gr.Blocks, when the program has come to it.

    A gr.Blocks of ours would make a web app when it is left (gradio/blocks.py, `Blocks.__exit__`), which nobody asks
    and which takes longer than all else here. The program calls `render` (modules/ui.py, `create_ui`) and looks through
    `children` for what has a label (modules/ui_loadsave.py, `add_block`).
    """

    def __init__(self, context: PageContext) -> None:
        self._places = places(PARTS, context)  # read now: an error in here costs the program our tab, later its start
        self.children: list[gr.Tabs] = []

    def render(self) -> Page:
        """Build it in the gr.Blocks that is open."""
        self.children = [_arranged(self._places)]
        return self


def _arranged(html: Mapping[str, str]) -> gr.Tabs:
    with gr.Tabs() as tabs:
        with gr.Tab("Train", elem_id="tinv_tab_train"), gr.Row(elem_id="tinv"):
            for part in ("train", "live"):  # what a run is started with at the left, the run at the right
                with gr.Column(scale=5):
                    gr.HTML(html[part])
        with gr.Tab("Prepare", elem_id="tinv_tab_prepare"):
            gr.HTML(html["prepare"])
        with gr.Tab("Embeddings", elem_id="tinv_tab_embeddings"):
            gr.HTML(html["embeddings"])
        with gr.Tab("Runs", elem_id="tinv_tab_runs"):
            gr.HTML(html["runs"])
    return tabs
