"""What the routes say of themselves in the app's /openapi.json (OpenAPI 3): bodies and refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinv_ext.core.settings import DEFAULTS, SETTINGS
from tinv_ext.core.settings.setting import Setting
from tinv_ext.run.status import STATUSES

WITH_SETTINGS = ("/train", "/check", "/resume", "/images", "/outlook")
WITH_PREPARATION = ("/prepare", "/prepare/check")
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_REFUSAL = {
    "type": "object",
    "required": ["detail"],
    "properties": {
        "detail": {
            "anyOf": [
                {
                    "type": "object",
                    "required": ["problems", "ids"],
                    "properties": {
                        "problems": {"type": "array", "items": {"type": "string"}},
                        "ids": {"type": "array", "description": "Of each problem its id, or null."},
                    },
                },
                {"type": "string"},
                {"type": "array", "items": {"type": "object"}, "description": "Parameters that are missing or wrong."},
            ]
        }
    },
}
_REASONS = {
    401: "The credentials or the login are missing or wrong.",
    403: "Another web page asked.",
    404: "There is no such job, run, image or file.",
    422: "It cannot be done: every problem.",
    500: "A bug of tinv.",
}
_BODY_REASONS = {
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not of the type that is told.",
}

_JSON = "application/json"
_BINARY = {"type": "string", "format": "binary"}
_LANGUAGE = {
    "name": "language",
    "in": "query",
    "required": False,
    "description": "To answer in; without it that of the Accept-Language header.",
    "schema": {"type": "string", "default": ""},
}
_JOB = {
    "id": {"type": "string"},
    "name": {"type": "string"},
    "status": {"type": "string", "enum": list(STATUSES)},
    "reason": {"type": "string", "description": "Why it is paused or stopped or has failed, or how it ended."},
    "steps": {"type": "integer", "description": "Steps taken."},
    "total": {
        "type": "integer",
        "description": "Steps that it takes at most; once it has finished, those that it took.",
    },
    "file": {"type": ["string", "null"], "description": "The embedding that was written."},
    "file_step": {
        "type": ["integer", "null"],
        "description": "The step whose vectors the file holds: the best by evaluation, unless the setting result is "
        "last.",
    },
    "evaluations": {"type": "array", "description": "Step and evaluation loss of each."},
}
_STATUS = {
    "type": "object",
    "required": ["job", "queued", "interrupted"],
    "properties": {
        "job": {"anyOf": [{"type": "object", "required": list(_JOB), "properties": _JOB}, {"type": "null"}]},
        "queued": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Names of the other runs that wait for their turn.",
        },
        "interrupted": {"type": "array", "items": {"type": "object"}},
    },
}


def described(method: str, path: str, takes: str = _JSON, gives: Sequence[str] = ()) -> dict[str, Any]:
    """What FastAPI is to know of a route: its method, its body and the statuses that it answers with.

    `takes` and `gives` are the media types of a file that is its body, and of one that it answers with.
    """
    reasons = {**_REASONS, **(_BODY_REASONS if method in ("POST", "PUT") else {})}
    refused = {"application/json": {"schema": _REFUSAL}}
    responses: dict[int | str, Any] = {
        code: {"description": reason, "content": refused} for code, reason in reasons.items()
    }
    if path == "/resume":
        responses[202] = {"description": "The run is queued.", "content": {"application/json": {"schema": {}}}}
    if path == "/status":
        responses[200] = {"description": "How a run stands.", "content": {"application/json": {"schema": _STATUS}}}
    if path == "/prepare" and method == "POST":
        responses[202] = {"description": "It has begun.", "content": {"application/json": {"schema": {}}}}
    if gives:
        responses[200] = {"description": "The file.", "content": {kind: {"schema": _BINARY} for kind in gives}}
    bodies = {**dict.fromkeys(WITH_SETTINGS, _settings), **dict.fromkeys(WITH_PREPARATION, _preparation)}
    schema = bodies[path]() if path in bodies and method == "POST" else None
    body = {"requestBody": {"content": {"application/json": {"schema": schema}}}} if schema else {}
    if takes != _JSON:
        body = {"requestBody": {"content": {takes: {"schema": _BINARY}}}}
    return {
        "methods": [method],
        "status_code": 202 if path == "/train" else 200,
        "responses": responses,
        "openapi_extra": {"parameters": [_LANGUAGE], **body},
    }


def _preparation() -> dict[str, Any]:
    """What a preparation is asked for; the choices are those of `tinv prepare --help`."""
    from tinv_ext.server.prepare_request import NAMES

    lists = {"type": "array", "items": {"type": "string"}}
    kinds = {
        name: lists if isinstance(default, tuple) else {"type": _TYPES[type(default)]}
        for name, default in NAMES.items()
    }
    properties = {name: {**kind, "default": NAMES[name]} for name, kind in kinds.items()}
    return {"type": "object", "required": ["source"], "properties": properties}


def _settings() -> dict[str, Any]:
    return {"type": "object", "properties": {name: _property(name, about) for name, about in SETTINGS.items()}}


def _property(name: str, about: Setting) -> dict[str, Any]:
    """A setting as JSON Schema. A limit that 0 may pass, or a step that it need not keep, is left to the help."""
    limits = {"minimum": about.minimum, "maximum": about.maximum, "multipleOf": about.multiple}
    facts: dict[str, Any] = {} if about.zero else {key: value for key, value in limits.items() if value is not None}
    if about.choices:
        facts["enum"] = list(about.choices)
    kind = _TYPES[type(DEFAULTS[name])]
    return {"type": kind, "title": str(about.label), "description": str(about.help), "default": DEFAULTS[name], **facts}
