"""What is to be said of a name while it is typed: whether it can be used, and what it would take over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tinv_ext.core.messages import Message, message
from tinv_ext.core.names import bare_name, name_problems
from tinv_ext.core.preflight.trained_words import problems_of_name, shared_tokens, taken
from tinv_ext.core.preflight.words import phrase_notices
from tinv_ext.core.prompts.reader import Tokenizer, Word

FREE, WARNING, BAD, EMPTY = "free", "warning", "bad", "empty"


@dataclass(frozen=True)
class NameVerdict:
    """One of `FREE`, `WARNING` (usable, but read why), `BAD` (a run is refused) and `EMPTY`, in sentences.

    `replaceable`: it is refused only because of an embedding that the run could replace.
    """

    state: str
    texts: tuple[Message | str, ...]
    replaceable: bool = False


def name_verdict(
    given: str, vectors: int, tokenizer: Tokenizer, known: Sequence[Word], files: Iterable[str], overwrite: bool
) -> NameVerdict:
    """The verdict on a name beside the embeddings there are (`known`, and `files` of their folder)."""
    name = bare_name(given)
    if not name.strip():
        return NameVerdict(EMPTY, ())
    problems: list[Message | str] = list(name_problems(name))
    word = Word(name, tuple(tokenizer.ids(name)), max(1, vectors))
    known = [other for other in known if other.ids]
    if not problems:
        problems = list(problems_of_name(word, known, files, replace=True))
    if problems:
        return NameVerdict(BAD, tuple(problems))
    there = tuple(taken(word, known, files))
    if there and not overwrite:
        return NameVerdict(BAD, there, replaceable=True)
    notices = (*(_replaced(name) for _ in there[:1]), *phrase_notices(word, tokenizer), *shared_tokens(word, known))
    if notices:
        return NameVerdict(WARNING, notices)
    return NameVerdict(FREE, (message("preflight.name_is_free", '"{name}" is free.', name=name),))


def _replaced(name: str) -> Message:
    return message(
        "preflight.replaced",
        'There is already an embedding "{name}". The run replaces it, and keeps the old file in its folder.',
        name=name,
    )
