"""The part of the page where prompt templates are read, written and listed anew."""

from __future__ import annotations

from typing import Any

import gradio as gr

from tinv_ext.core.errors import TinvError
from tinv_ext.server.templates import Templates
from tinv_ext.ui import html


def place(templates: Templates, chosen: gr.components.Component) -> None:
    """Put it where gradio stands. `chosen` is the control with which a template is chosen."""
    with gr.Accordion("Edit templates", open=False, elem_id="tinv_templates"):
        said = "[name] becomes the word, [filewords] the caption."
        lines = gr.Textbox("", label="Template lines", lines=6, info=said, elem_id="tinv_lines")
        with gr.Row():
            name = gr.Textbox("", label="Template name", elem_id="tinv_lines_name")
            show = gr.Button("Open the chosen one", elem_id="tinv_lines_open")
            save = gr.Button("Save and choose", elem_id="tinv_lines_save")
            look = gr.Button("List templates", elem_id="tinv_lines_list")
        answer = gr.HTML(elem_id="tinv_lines_answer")
    for control in (lines, name):
        control.do_not_save_to_config = True

    def on_show(which: str) -> tuple[Any, Any, str]:
        try:
            return templates.text(which), which, ""
        except TinvError as error:
            return gr.update(), gr.update(), _told(error)

    def on_save(which: str, text: str) -> tuple[Any, str]:
        try:
            templates.save(which, text)
        except TinvError as error:
            return gr.update(), _told(error)
        return gr.update(choices=templates.names(), value=which), html.said(f"{which} is saved.")

    show.click(on_show, inputs=[chosen], outputs=[lines, name, answer])
    save.click(on_save, inputs=[name, lines], outputs=[chosen, answer])
    look.click(lambda: gr.update(choices=templates.names()), inputs=[], outputs=[chosen])


def _told(error: TinvError) -> str:
    return html.problems(error.problems)
