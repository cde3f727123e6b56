"""A person's own presets: listed, saved, deleted. One is exported as what GET /presets says of it, and saved again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message, translated
from tinv_ext.server.late import late
from tinv_ext.server.routes.body import flag, text
from tinv_ext.server.routes.route import Answer, Language, Route, Served, in_thread, json_body

if TYPE_CHECKING:
    from tinv_ext.server.presets import Preset, Presets


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    presets = late(lambda: served.queue.presets)
    return [
        Route("GET", "/presets", list_route(presets)),
        Route("POST", "/presets/save", save_route(presets)),
        Route("POST", "/presets/delete", delete_route(presets)),
    ]


def list_route(presets: Presets) -> Answer:
    """GET /presets."""

    async def listed(language: str = Language) -> JSONResponse:
        """Each preset with its name and the settings in which it differs from the defaults."""
        return await in_thread(lambda: JSONResponse([_shown(preset) for preset in presets.all()]), language)

    return listed


def save_route(presets: Presets) -> Answer:
    """POST /presets/save."""

    async def save(request: Request, language: str = Language) -> JSONResponse:
        """Save `settings` as `name`; with `replace` also over one of that name. 422 and every problem."""
        values = await json_body(request, language)

        def answer() -> JSONResponse:
            settings = values.get("settings")
            if not isinstance(settings, Mapping):
                raise InputError(message("api.no_settings", "This is no preset: it has no settings."))
            preset = presets.save(text(values, "name").strip(), settings, flag(values, "replace"))
            saved = message("ui.preset_saved", 'Saved the preset "{name}".', name=preset.name)
            return JSONResponse({"preset": _shown(preset), "sentences": [translated(saved, language)]})

        return await in_thread(answer, language)

    return save


def delete_route(presets: Presets) -> Answer:
    """POST /presets/delete."""

    async def delete(request: Request, language: str = Language) -> JSONResponse:
        """Delete the preset `name`; the answer has it, so that it can be saved again."""
        values = await json_body(request, language)

        def answer() -> JSONResponse:
            preset = presets.delete(text(values, "name"))
            gone = message("ui.preset_deleted", 'Deleted the preset "{name}".', name=preset.name)
            return JSONResponse({"preset": _shown(preset), "sentences": [translated(gone, language)]})

        return await in_thread(answer, language)

    return delete


def _shown(preset: Preset) -> dict[str, Any]:
    return {"name": preset.name, "settings": dict(preset.settings)}
