"""What surrounds the page: the program that shows it, and whoever looks at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import gradio as gr

from tinv_ext.prepare.captions import Captioner
from tinv_ext.server.allowed_paths import PathCheck
from tinv_ext.server.language import accepted_language
from tinv_ext.server.preparations import Preparations


@dataclass(frozen=True)
class PageContext:
    """What the page takes from the program around it.

    `allowed_paths(request)` is the check of paths for whoever asks, None where every folder may be used. `language`
    is that of the page; where it is empty, everybody is answered in the language that the browser asks for.
    `captioners` is what it can caption images by. `preparations` outlives a reload of the page. `token` lets the page
    use the routes that change something.
    """

    allowed_paths: Callable[[gr.Request], PathCheck | None] = lambda request: None
    language: str = ""
    captioners: Mapping[str, Captioner] = field(default_factory=dict)
    preparations: Preparations = field(default_factory=Preparations)
    token: str = ""

    def language_for(self, request: gr.Request) -> str:
        """The language in which to answer a request."""
        return self.language or accepted_language(dict(request.headers).get("accept-language"))
