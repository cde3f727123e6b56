"""The part of the page in which prompt templates are read, written and listed."""

from __future__ import annotations

from typing import Any

import gradio as gr

from tinv_ext.core.errors import TinvError
from tinv_ext.core.messages import message
from tinv_ext.server.failures import errors_told
from tinv_ext.server.templates import Templates
from tinv_ext.ui import answers_html
from tinv_ext.ui.context import PageContext


def build(templates: Templates, template: gr.components.Component, context: PageContext) -> None:
    """Add it to the page. `template` is the control with which a template is chosen."""
    with gr.Accordion("Edit templates", open=False, elem_id="tinv_templates"):
        info = "[name] is replaced by the embedding's name, [filewords] by the image's caption."
        lines = gr.Textbox("", label="Template lines", lines=6, info=info, elem_id="tinv_lines")
        name = gr.Textbox("", label="Template name", elem_id="tinv_lines_name")
        replace = gr.Checkbox(False, label="Replace a template of the same name", elem_id="tinv_lines_replace")
        with gr.Row():
            load_button = gr.Button("Load", elem_id="tinv_lines_open")
            save_button = gr.Button("Save", elem_id="tinv_lines_save")
            refresh_button = gr.Button("Refresh", elem_id="tinv_lines_list")
        answer = gr.HTML(elem_id="tinv_lines_answer")
    for control in (lines, name, replace):
        control.do_not_save_to_config = True

    def load(chosen: str, request: gr.Request) -> tuple[Any, Any, str]:
        try:
            with errors_told():
                return templates.text(chosen), chosen, ""
        except TinvError as error:
            return gr.update(), gr.update(), answers_html.not_done(error, context.language_for(request))

    def save(name: str, text: str, replace: bool, request: gr.Request) -> tuple[Any, Any, str]:
        language = context.language_for(request)
        try:
            with errors_told():
                templates.save(name, text, overwrite=replace)
        except TinvError as error:
            return gr.update(), gr.update(), answers_html.not_done(error, language)
        saved = message("ui.template_saved", 'Template "{name}" was saved and selected.', name=name)
        return gr.update(choices=templates.names(), value=name), False, answers_html.sentence(saved, language)

    load_button.click(load, inputs=[template], outputs=[lines, name, answer])
    save_button.click(save, inputs=[name, lines, replace], outputs=[template, replace, answer])
    refresh_button.click(lambda: gr.update(choices=templates.names()), inputs=[], outputs=[template])
