"""Every sentence that a person can meet: written once, in English, where it is said, with an id and its values.

    problems.append(message("images.folder_missing", 'The image folder "{folder}" does not exist. Check the path.',
                            folder=folder))

A `Message` is its English text, so it goes wherever a `str` goes: exceptions, logs, JSON. Its id and values make it
possible to say it in another language (`translated`) and to recognise it in a test whatever its wording
(`tests/messages.py`). Translations lie in `tinv_ext/localizations/<language>/<first part of the id>.json`.

In a template `{images:image|images}` counts: "1 image", "3 images". A value may be a message itself, or a list of texts
and messages: `{reasons:, }` joins one.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

LOCALIZATIONS = Path(__file__).parents[1] / "localizations"
ENGLISH = "en"


class Message(str):
    """A sentence in English, with its `id`, its `template` and the `values` in it."""

    __slots__ = ("id", "template", "values")
    id: str
    template: str
    values: Mapping[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.id, self.template, dict(self.values))


def message(id: str, template: str, /, **values: Any) -> Message:  # noqa: A002 (what it is)
    """The sentence `template` with `values` put in, known by `id` ("area.what_it_says")."""
    return _made(id, template, values)


def _made(id: str, template: str, values: Mapping[str, Any]) -> Message:  # noqa: A002
    made = Message(encodable(_Formatter(ENGLISH).vformat(template, (), values)))
    made.id, made.template, made.values = id, template, values
    return made


def with_values(text: Message, change: Callable[[Any], Any]) -> Message:
    """The same sentence with each of its values changed."""
    return _made(text.id, text.template, {key: change(value) for key, value in text.values.items()})


def taken_apart(text: Any) -> Any:
    """A message as JSON can hold it, and messages among the values of one; anything else, as it is."""
    if isinstance(text, Message):
        return {"id": text.id, "template": text.template, "values": taken_apart(text.values)}
    if isinstance(text, Mapping):
        return {key: taken_apart(value) for key, value in text.items()}
    return [taken_apart(value) for value in text] if isinstance(text, (list, tuple)) else text


def put_together(told: Any) -> Any:
    """The reverse of `taken_apart`. ValueError or TypeError where JSON could not hold what the template needs."""
    if isinstance(told, dict) and set(told) == {"id", "template", "values"}:
        return _made(told["id"], told["template"], {key: put_together(one) for key, one in told["values"].items()})
    return [put_together(one) for one in told] if isinstance(told, list) else told


def translated(text: str, language: str) -> str:
    """`text` in a language ("zh_CN"), its values too; as it is where it is no message or has no translation."""
    if not isinstance(text, Message) or language == ENGLISH:
        return str(text)
    template = templates(language).get(text.id, text.template)
    return encodable(_Formatter(language).vformat(template, (), text.values))


def encodable(text: str) -> str:
    """`text` with the bytes of a file name that are not UTF-8 (lone surrogates) written out, so that it can be sent."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def language_of(name: str | None) -> str:
    """The language that we have for a name such as "zh_CN.UTF-8", "zh-Hans (Stable)" or "de": English if none."""
    wanted = (name or "").replace("-", "_").lower()
    return next((one for one in languages() if wanted[:2] == one[:2].lower()), ENGLISH)


@cache
def languages() -> tuple[str, ...]:
    """Languages beside English."""
    return tuple(sorted(path.name for path in LOCALIZATIONS.iterdir() if path.is_dir()))


@cache
def templates(language: str) -> Mapping[str, str]:
    """Templates by id, of all files of a language."""
    found: dict[str, str] = {}
    for path in sorted((LOCALIZATIONS / language).glob("*.json")):
        found.update(json.loads(path.read_text("utf-8")))
    return found


class _Formatter(string.Formatter):
    """`str.format` that counts (`{n:image|images}`), joins lists, and says values that are messages in `language`."""

    def __init__(self, language: str) -> None:
        self._language = language

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Sequence) and not isinstance(value, str):
            return (format_spec or ", ").join(
                translated(str(one) if not isinstance(one, str) else one, self._language) for one in value
            )
        if isinstance(value, Message):
            return translated(value, self._language)
        if "|" in format_spec:
            one, many = format_spec.split("|")
            return f"{value} {one if value == 1 else many}"
        return str(super().format_field(value, format_spec))
