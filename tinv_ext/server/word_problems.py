"""Which of several words a sentence is about: the page shows it at the card of that word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tinv_ext.core.messages import Message
from tinv_ext.core.settings.words import SAME_WORD, names_in

_VALUES = ("word", "one", "other", "short", "long", "name", "subset")
"""Under which a sentence has the names of the words that it is about."""


def by_word(problems: Sequence[str], values: Mapping[str, Any]) -> list[list[str]]:
    """For each of the tables of words in the settings `values`, in their order, what is wrong with it."""
    names = names_in(values.get("words"))
    found: list[list[str]] = [[] for _ in names]
    for problem in problems:
        for place, text in _places(problem, names):
            if text not in found[place]:
                found[place].append(text)
    return found


def is_of_a_word(problem: str, values: Mapping[str, Any]) -> bool:
    """Whether one of the tables is told of it."""
    return any(True for _ in _places(problem, names_in(values.get("words"))))


def _places(problem: str, names: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The places of the words that a sentence is about, each with what is to be said there."""
    if not isinstance(problem, Message):
        return
    if problem.id == "settings.in_words":
        place = int(problem.values["number"]) - 1
        if place < len(names):
            yield place, problem.values["problem"]
        return
    if problem.id.startswith("settings.") and problem.id not in SAME_WORD:
        return  # their names are those of settings
    named = {str(problem.values[key]).lower() for key in _VALUES if key in problem.values}
    for place, name in enumerate(names):
        if not name:
            continue
        if problem.id == "preflight.of_subset":
            if problem.values["subset"].partition("/")[0] == name:
                yield place, problem.values["text"]
        elif name.lower() in named:
            yield place, problem
