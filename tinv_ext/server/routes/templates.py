"""Prompt templates: read and written by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from tinv_ext.core.messages import message, translated
from tinv_ext.server.routes.route import Language, Route, Served, in_thread, json_body


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    return [
        Route("GET", "/templates", _read(served)),
        Route("POST", "/templates", _write(served)),
        Route("POST", "/templates/delete", _delete(served)),
    ]


def _read(served: Served) -> Callable[..., Any]:
    async def read(name: str = "", language: str = Language) -> JSONResponse:
        """The names of all templates, of those the user's `own` and, if one is named, its lines."""
        templates = served.queue.templates

        def answer() -> JSONResponse:
            names = {"names": templates.names(), "own": templates.own()}
            return JSONResponse({**names, **({"text": templates.text(name)} if name else {})})

        return await in_thread(answer, language)

    return read


def _write(served: Served) -> Callable[..., Any]:
    async def write(request: Request, language: str = Language) -> JSONResponse:
        """Save a template: body {"name": …, "text": its lines, "replace": whether it may be there already}.

        The answer has the name without ".txt", by which it can be chosen.
        """
        values = await json_body(request, language)
        templates = served.queue.templates

        def answer() -> JSONResponse:
            name = str(values.get("name") or "")
            name = templates.save(name, str(values.get("text") or ""), overwrite=values.get("replace") is True).stem
            saved = message("server.template_saved", 'Template "{name}" was saved and selected.', name=name)
            return JSONResponse({"name": name, "names": templates.names(), "said": translated(saved, language)})

        return await in_thread(answer, language)

    return write


def _delete(served: Served) -> Callable[..., Any]:
    async def delete(request: Request, language: str = Language) -> JSONResponse:
        """Delete the user's own template `name`; the answer has its lines, so that it can be saved again."""
        values = await json_body(request, language)
        templates = served.queue.templates

        def answer() -> JSONResponse:
            name = str(values.get("name") or "")
            lines = templates.delete(name)
            gone = message("server.template_deleted", 'Template "{name}" was deleted.', name=name)
            names = {"names": templates.names(), "own": templates.own()}
            return JSONResponse({"text": lines, **names, "said": translated(gone, language)})

        return await in_thread(answer, language)

    return delete
