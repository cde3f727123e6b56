"""What a request brings: a file, and values of a JSON object, checked for their kind."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException, Request

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message, translated
from tinv_ext.server.routes.route import refused

FILE_SECONDS = 300.0  # for a whole file
_MISSING: Any = object()


async def file_body(request: Request, most: int, language: str) -> bytes:
    """The body as it is. 413 if it has more than `most` bytes, 408 if it does not arrive in time."""
    try:
        return await asyncio.wait_for(_read(request, most, language), FILE_SECONDS)
    except asyncio.TimeoutError as error:
        problem = message("api.file_too_slow", "The file did not arrive within {seconds} s.", seconds=FILE_SECONDS)
        raise refused(InputError(problem), language, 408) from error


async def _read(request: Request, most: int, language: str) -> bytes:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > most:
            large = message("api.file_too_large", "The file is larger than {limit} MB.", limit=most >> 20)
            raise HTTPException(413, translated(large, language))
    return bytes(data)


def text(values: Mapping[str, Any], name: str, default: str = _MISSING) -> str:
    """A text. `InputError` where it is missing or no text."""
    value = values.get(name, default)
    if not isinstance(value, str):
        raise InputError(_wrong(name, "a text"))
    return value


def texts(values: Mapping[str, Any], name: str) -> list[str]:
    """A list of texts."""
    value = values.get(name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InputError(_wrong(name, "a list of texts"))
    return value


def whole(values: Mapping[str, Any], name: str, default: int = _MISSING) -> int:
    """A whole number."""
    value = values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 63:
        raise InputError(_wrong(name, "a whole number"))
    return value


def number(values: Mapping[str, Any], name: str, default: float = _MISSING) -> float:
    """A number."""
    value = values.get(name, default)
    if not _is_number(value):
        raise InputError(_wrong(name, "a number"))
    return float(value)


def numbers(values: Mapping[str, Any], name: str) -> list[float]:
    """A list of numbers; none where it is missing."""
    value = values.get(name, [])
    if not isinstance(value, list) or not all(map(_is_number, value)):
        raise InputError(_wrong(name, "a list of numbers"))
    return [float(one) for one in value]


def flag(values: Mapping[str, Any], name: str) -> bool:
    """Whether something is asked for; not where it is missing."""
    value = values.get(name, False)
    if not isinstance(value, bool):
        raise InputError(_wrong(name, "true or false"))
    return value


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _wrong(name: str, kind: str) -> Message:
    return message("api.wrong_value", '"{name}" must be {kind}.', name=name, kind=_KINDS[kind])


_KINDS: Mapping[str, Message] = {
    "a text": message("api.kind_text", "a text"),
    "a list of texts": message("api.kind_texts", "a list of texts"),
    "a whole number": message("api.kind_whole", "a whole number"),
    "a number": message("api.kind_number", "a number"),
    "a list of numbers": message("api.kind_numbers", "a list of numbers"),
    "true or false": message("api.kind_flag", "true or false"),
}
