"""What a page has to know of the settings, and its fixed labels in another language."""

from __future__ import annotations

from dataclasses import fields

from fastapi.responses import JSONResponse

from tinv_ext.core.settings import DEFAULTS, SETTINGS
from tinv_ext.server.routes.route import Language, Route, Served


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    return [Route("GET", "/schema", schema, changing=False), Route("GET", "/labels", labels, changing=False)]


def schema(language: str = Language) -> JSONResponse:
    """Every setting with its label, help, limits and default."""
    from tinv_ext.server.language import page_labels

    texts = page_labels(language)
    described = {}
    for name, about in SETTINGS.items():
        known = {item.name: getattr(about, item.name) for item in fields(about) if item.name != "check"}
        known |= {key: list(known[key]) for key in ("choices", "suggestions")}  # of a table, the names of its rows
        facts = {
            key: texts.get(value, value) if key in ("label", "help") else value
            for key, value in known.items()
            if not (value is None or value is False or value in ([], {}))
        }
        described[name] = {**facts, "default": DEFAULTS[name], "type": type(DEFAULTS[name]).__name__}
    return JSONResponse(described)


def labels(language: str = Language) -> JSONResponse:
    """The page's fixed labels by their English, for a page that nobody else translates; none in English."""
    from tinv_ext.server.language import page_labels

    return JSONResponse(dict(page_labels(language)))
