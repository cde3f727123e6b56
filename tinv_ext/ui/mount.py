"""The places in gradio's page that the page's own script (javascript/tinv.js) fills."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from tinv_ext.server.page_files import files, modules, version
from tinv_ext.ui.context import PageContext


def places(parts: Iterable[str], context: PageContext) -> dict[str, str]:
    """HTML of each part's place, a folder of javascript/tinv: with its language, and the token that lets it in."""
    found = files()
    app = f"tinv/v1/page/{version(found)}/app.js"
    return {part: _place(part, context, app, modules(part, found)) for part in parts}


def _place(part: str, context: PageContext, app: str, names: list[str]) -> str:
    data = {"part": part, "language": context.language, "token": context.token, "app": app, "files": " ".join(names)}
    attributes = " ".join(f'data-{name}="{escape(value)}"' for name, value in data.items())
    return f'<div id="tinv_part_{part}" class="tinv-part" {attributes}></div>'
