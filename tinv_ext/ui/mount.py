"""The places in gradio's page that the page's own script (javascript/tinv.js) fills."""

from __future__ import annotations

from html import escape

import gradio as gr

from tinv_ext.server.page_files import modules, version
from tinv_ext.ui.context import PageContext


def mount(part: str, context: PageContext) -> gr.HTML:
    """The place of a part, a folder of javascript/tinv: with its language, and the token that lets it in."""
    data = {
        "part": part,
        "language": context.language,
        "token": context.token,
        "app": f"tinv/v1/page/{version()}/app.js",
        "files": " ".join(modules(part)),
    }
    attributes = " ".join(f'data-{name}="{escape(value)}"' for name, value in data.items())
    return gr.HTML(f'<div id="tinv_part_{part}" class="tinv-part" {attributes}></div>')
