"""Recognising a sentence by its id and values, so that an edit of its wording breaks no test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import Message


def ids(texts: Iterable[str]) -> list[str]:
    """The id of each text, in order; a text that is no message stands for itself."""
    return [text.id if isinstance(text, Message) else text for text in texts]


def said(texts: Iterable[str], id: str, /, **values: Any) -> bool:  # noqa: A002
    """Whether one of the texts, or a message among its values, is the message `id` with (at least) these values."""
    return any(_is(one, id, values) for text in texts for one in _with_values(text))


@contextmanager
def refused(
    id: str,  # noqa: A002
    error: type[TinvError] = InputError,
    /,
    **values: Any,
) -> Iterator[pytest.ExceptionInfo[TinvError]]:
    """As `pytest.raises(error)`, for an error that has the message `id` with these values among its problems."""
    with pytest.raises(error) as caught:
        yield caught
    problems = caught.value.problems
    assert said(problems, id, **values), f"no {id} {values} among {[(ids([one]), one) for one in problems]}"


def _with_values(text: str) -> Iterator[str]:
    """The text, and the messages that it is made of."""
    yield text
    for value in text.values.values() if isinstance(text, Message) else ():
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(one, Message):
                yield from _with_values(one)


def _is(text: str, id: str, values: dict[str, Any]) -> bool:  # noqa: A002
    if not isinstance(text, Message) or text.id != id:
        return False
    return all(key in text.values and _same(text.values[key], value) for key, value in values.items())


def _same(found: Any, wanted: Any) -> bool:
    """Values are compared as they are or as they are shown: a path is its text."""
    return bool(found == wanted) or str(found) == str(wanted)
