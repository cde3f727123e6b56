"""What a page has to know of the settings, its fixed labels in another language, and what a settings file means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse

from tinv_ext.core.errors import TinvError
from tinv_ext.core.messages import translated
from tinv_ext.server.routes.body import file_body
from tinv_ext.server.routes.route import Answer, Language, Route, Served, in_thread

if TYPE_CHECKING:
    from tinv_ext.core.settings.setting import Setting


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    return [
        Route("GET", "/schema", schema, changing=False),
        Route("GET", "/labels", labels, changing=False),
        Route("GET", "/settings", _form(served)),
        Route("POST", "/settings/read", read_route(served), takes="file"),
    ]


def schema(language: str = Language) -> JSONResponse:
    """Every setting with its label, help, limits and default."""
    from tinv_ext.core.settings import DEFAULTS, SETTINGS
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


LINES = ("preview_prompt", "words")
"""Texts that may have several lines."""
_KINDS = {bool: "switch", int: "whole", float: "number", str: "text"}


def _form(served: Served) -> Callable[..., Any]:
    def settings(language: str = Language) -> JSONResponse:
        """Every setting as a form needs it, in order: group, label, help, kind, limits, choices, level.

        `of_one_run` are those that a preset leaves as they are, `of_a_word` those that only one of several words has.
        """
        from tinv_ext.core.settings import GROUPS, SETTINGS
        from tinv_ext.core.settings.word_own import ABOUT_OWN, OWN
        from tinv_ext.server.presets import OF_ONE_RUN

        groups = [{"name": name, "title": translated(title, language)} for name, title in GROUPS.items()]
        offered = _offered(served)
        controls = [_control(name, offered, language) for name in SETTINGS]
        own = [{"name": name, **_field(about, OWN[name], language)} for name, about in ABOUT_OWN.items()]
        answer = {"groups": groups, "settings": controls, "of_one_run": list(OF_ONE_RUN), "of_a_word": own}
        return JSONResponse(answer)

    return settings


def _offered(served: Served) -> Mapping[str, Sequence[str]]:
    """What can be chosen here for settings whose choices depend on the program and its files."""
    templates = {"template": served.queue.templates.names()}
    try:
        host = served.queue.loaded_host()
    except TinvError:  # told as the model
        host = None
    if host is None:
        return templates
    return {**templates, "preview_sampler": host.samplers, "preview_scheduler": ["", *host.schedulers]}


def _control(name: str, offered: Mapping[str, Sequence[str]], language: str) -> dict[str, Any]:
    from tinv_ext.core.settings import DEFAULTS, SETTINGS
    from tinv_ext.core.settings.levels import level
    from tinv_ext.server.allowed_paths import PATHS

    about = SETTINGS[name]
    field = _field(about, DEFAULTS[name], language)
    if not about.choices and name in PATHS and name != "template":
        field["kind"] = "path"
    elif not about.choices and name in LINES:
        field["kind"] = "lines"
    suggestions = list(offered.get(name, about.suggestions))
    return {"name": name, "group": about.group, **field, "level": level(name), "suggestions": suggestions}


def _field(about: Setting, default: Any, language: str) -> dict[str, Any]:
    """What a form needs of a value."""
    from tinv_ext.server.language import page_labels

    texts = page_labels(language)
    limits = {"minimum": about.minimum, "maximum": about.maximum, "multiple": about.multiple, "zero": about.zero}
    return {
        "label": translated(about.label, language),
        "help": translated(about.help, language),
        "kind": "choice" if about.choices else _KINDS[type(default)],
        "default": default,
        **{key: value for key, value in limits.items() if value is not None and value is not False},
        "choices": [{"value": choice, "label": texts.get(choice, choice)} for choice in about.choices],
        "suggestions": list(about.suggestions),
    }


def read_route(served: Served) -> Answer:
    """POST /settings/read."""

    async def read(request: Request, name: str, keep: bool = True, language: str = Language) -> JSONResponse:
        """The settings in a file that is called `name`, of this program or another trainer; `sentences` on the rest.

        One that names folders of images is kept for the run, unless `keep` is false.
        """
        from tinv_ext.server.settings_files import MAX_FILE, settings_sent

        data = await file_body(request, MAX_FILE, language)

        def answer() -> JSONResponse:
            settings, notices = settings_sent(data, name, served.queue.home if keep else None)
            return JSONResponse({"settings": settings, "sentences": [translated(one, language) for one in notices]})

        return await in_thread(answer, language)

    return read
